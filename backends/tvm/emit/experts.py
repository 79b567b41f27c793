"""Emission of mixtures of experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphwright.backends.element_types import MANIFEST_NAMES
from graphwright.backends.tvm.emit.emitter import Emitter, Tensor, flat_type, row_count
from graphwright.backends.tvm.kernels.expert_form import ExpertForm
from graphwright.backends.tvm.kernels.experts import experts
from graphwright.backends.tvm.kernels.experts_of_tensors import experts_of_tensors
from graphwright.ir.dialects.cpu.packed_weights import packed_layout
from graphwright.ir.graph import Op
from graphwright.ir.types import DType, QuantizedType


def emit_experts_by_codes(e: Emitter, op: Op) -> None:
    types = [op.required(name).type for name in ("gate_up", "down")]
    layouts = tuple(packed_layout(type) for type in types if isinstance(type, QuantizedType))
    _emit_stored(e, op, layouts)


def emit_experts(e: Emitter, op: Op) -> None:
    _emit_stored(e, op, MANIFEST_NAMES[op.required("down").tensor.dtype])


def emit_experts_of_tensors(e: Emitter, op: Op) -> None:
    stacks = [e.single(op.required(name)) for name in ("gate_up", "down")]
    _emit(e, op, experts_of_tensors, stacks)


def _emit_stored(e: Emitter, op: Op, weights: Any) -> None:
    stacks = [array for name in ("gate_up", "down") for array in e.laid_out(op, name)]
    tokens = row_count(op.result.type.shape)
    _emit(e, op, experts, stacks, weights=weights, tokens=tokens)


def _emit(e: Emitter, op: Op, make: Any, stacks: Sequence[Tensor], **parameters: Any) -> None:
    """Experts by a kernel (x, indices, shares, arrays of gate_up and down, biases if there are any, y)."""
    x, indices, shares = (op.required(name) for name in ("x", "indices", "weights"))
    biases = [op.operand("gate_up_bias"), op.operand("down_bias")]
    result = op.result.tensor
    (y,) = e.kernel(
        make,
        [
            e.flatten(e.single(x)),
            e.flatten(e.value(indices)),
            e.flatten(e.single(shares)),
            *stacks,
            *(e.single(v) for v in biases if v is not None),
        ],
        [flat_type(result.with_dtype(DType.F32))],
        settings=e.settings,
        form=expert_form(op),
        **parameters,
    )
    e.computed(op.result, e.reshape(y, result.shape))


def expert_form(op: Op) -> ExpertForm:
    """The form of a `moe_experts`."""
    experts, outer, inner = (d.evaluate({}) for d in op.required("down").type.shape)
    attributes: dict[str, Any] = {n: op.attributes[n] for n in ("gated", "kind", "alpha", "limit", "up_offset")}
    return ExpertForm(
        experts=experts,
        size=op.required("gate_up").type.shape[2].evaluate({}),
        inner=inner,
        outer=outer,
        chosen=op.required("indices").type.shape[-1].evaluate({}),
        biases=(op.operand("gate_up_bias") is not None, op.operand("down_bias") is not None),
        **attributes,
    )
