"""Emission of mixtures of experts."""

from typing import Any

from graphwright.backends.tvm.emit.emitter import Emitter, flat_type
from graphwright.backends.tvm.kernels.experts import moe_experts
from graphwright.ir.graph import Op
from graphwright.ir.types import DType


def emit_moe_experts(e: Emitter, op: Op) -> None:
    x, indices, shares = (op.required(name) for name in ("x", "indices", "weights"))
    gate_up, down = op.required("gate_up"), op.required("down")
    biases = [op.operand("gate_up_bias"), op.operand("down_bias")]
    experts, outer, inner = (d.evaluate({}) for d in down.tensor.shape)
    result = op.result.tensor
    names = ("gated", "kind", "alpha", "limit", "up_offset")
    form: dict[str, Any] = {name: op.attributes[name] for name in names}
    (y,) = e.kernel(
        moe_experts,
        [
            e.flatten(e.single(x)),
            e.flatten(e.value(indices)),
            e.flatten(e.single(shares)),
            *(e.single(v) for v in (gate_up, down, *biases) if v is not None),
        ],
        [flat_type(result.with_dtype(DType.F32))],
        settings=e.settings,
        experts=experts,
        size=gate_up.tensor.shape[2].evaluate({}),
        inner=inner,
        outer=outer,
        chosen=indices.tensor.shape[-1].evaluate({}),
        biases=(biases[0] is not None, biases[1] is not None),
        **form,
    )
    e.computed(op.result, e.reshape(y, result.shape))
