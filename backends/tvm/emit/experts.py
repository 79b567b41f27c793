"""Emission of mixtures of experts."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.emit.emitter import Emitter
from graphwright.backends.tvm.emit.table import emits
from graphwright.backends.tvm.kernels.experts import moe_experts
from graphwright.ir import ops
from graphwright.ir.graph import Op, Value
from graphwright.ir.types import DType
from graphwright.ir.weights import Applied, Weight


def _weight(e: Emitter, value: Value) -> Any:
    """The experts' numbers as float32: narrow ones that are stored become that when the file is written."""
    if value.weight is None or value.tensor.dtype is DType.F32:
        return e.single(value)
    floats = Applied.of(ops.cast, (value.weight.expression,), {"dtype": DType.F32})
    return e.weight(Weight(f"{value.weight.name}.f32", floats))


@emits(ops.moe_experts)
def _(e: Emitter, op: Op) -> None:
    x, indices, shares = (op.required(name) for name in ("x", "indices", "weights"))
    gate_up, down = op.required("gate_up"), op.required("down")
    biases = [op.operand("gate_up_bias"), op.operand("down_bias")]
    experts, outer, inner = (d.evaluate({}) for d in down.tensor.shape)
    result = op.result.tensor
    (y,) = e.kernel(
        moe_experts,
        [
            e.flatten(e.single(x), x.tensor),
            e.flatten(e.value(indices), indices.tensor),
            e.flatten(e.single(shares), shares.tensor),
            *(_weight(e, v) for v in (gate_up, down, *biases) if v is not None),
        ],
        [e.flat_type(result.with_dtype(DType.F32))],
        experts=experts,
        size=gate_up.tensor.shape[2].evaluate({}),
        inner=inner,
        outer=outer,
        chosen=indices.tensor.shape[-1].evaluate({}),
        biases=(biases[0] is not None, biases[1] is not None),
        **{name: op.attributes[name] for name in ("gated", "kind", "alpha", "limit", "up_offset")},
    )
    e.computed(op.result, e.reshape(y, result.shape))
