"""Ops that the target does not take, spelt out in ops that it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.program import Program
from graphwright.ir.types import DType, TensorType
from graphwright.ir.weights import Applied
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.masked_attention import Masks
from graphwright.passes.lowering.ort.spelling import NARROW, SHORT, Spelling
from graphwright.passes.lowering.ort.spelling.attention import spell_attention
from graphwright.passes.lowering.ort.spelling.norms import spell_layer_norm, spell_rms_norm
from graphwright.passes.lowering.ort.spelling.rotary import spell_rope
from graphwright.passes.lowering.ort.table_pass import Context, TablePass

RULE = "decompose"


@register
@dataclass(frozen=True)
class Decompose(TablePass):
    """Ops that the target does not take are spelt out in ops that it does, or computed in float32."""

    name: ClassVar[str] = "ort-decompose"
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def lower(self, context: Context) -> None:
        """Rewrites every op that the table refuses: by its decomposition, or in float32 if it is too narrow a float."""
        # What a decomposition puts in may need another one: sweep until nothing changes.
        changed = True
        while changed:
            changed, masks = False, Masks()
            for op in context.graph:
                changed |= _decomposed(context, op, masks)


def _decomposed(context: Context, op: Op, masks: Masks) -> bool:
    reason = context.target.refusal(op)
    if reason is None:
        return False
    build = Builder(context.graph, op, op.location)
    spell = _spelling(op)
    if _can_widen(op):
        results = _widened(context.program, context.graph, build, op)
    elif spell is not None:
        results = [spell(build, op, masks)]
    else:
        return False
    context.near_miss(RULE, op, reason)
    context.spelt(RULE, op)
    for old, new in zip(op.results, results, strict=True):
        context.graph.replace(old, new)
    context.graph.erase_dead([op])
    return True


# -- narrow floats


def _can_widen(op: Op) -> bool:
    values = [*op.inputs, *op.results]
    plain = all(isinstance(v.type, TensorType) for v in values)
    return plain and any(v.tensor.dtype in NARROW for v in op.inputs)


def _widened(program: Program, graph: Graph, build: Builder, op: Op) -> list[Value]:
    """The op in float32, its results rounded: how the reference computes narrow floats too."""

    def widen(value: Value | None) -> Value | None:
        if value is None or value.tensor.dtype not in NARROW:
            return value
        if value.weight is not None:
            wide = Applied.of(ops.cast, (value.weight.expression,), {"dtype": DType.F32})
            return graph.weight(program.add_weight(f"{value.weight.name}.f32", wide))
        return build(ops.cast, value, dtype=DType.F32)

    new = build.op(op.definition, *[widen(v) for v in op.operands], **op.attributes)
    narrow = [v.tensor.dtype for v in op.results]
    return [v if v.tensor.dtype is d else build(ops.cast, v, dtype=d) for v, d in zip(new.results, narrow, strict=True)]


def _made_wide(build: Builder, op: Op, _: Masks) -> Value:
    """A constant or counter of a narrow float, made in float32."""
    wide = build(op.definition, **{**op.attributes, "dtype": DType.F32})
    return build(ops.cast, wide, dtype=op.result.tensor.dtype)


def _compared_wide(build: Builder, op: Op, _: Masks) -> Value:
    """A comparison of bools or short integers, which int32 holds exactly."""
    return build(op.definition, *(build(ops.cast, v, dtype=DType.I32) for v in op.inputs))


DECOMPOSITIONS: dict[OpDef, Spelling] = {
    ops.attention: spell_attention,
    ops.rope: spell_rope,
    ops.rms_norm: spell_rms_norm,
    ops.layer_norm: spell_layer_norm,
}
"""Each entry is used only where the table refuses the op and float32 does not help."""

COMPARISONS = (ops.lt, ops.le, ops.gt, ops.ge, ops.eq, ops.ne)


def _spelling(op: Op) -> Spelling | None:
    if op.definition in (ops.constant, ops.iota):
        return _made_wide if op.result.tensor.dtype in NARROW else None
    if op.definition in COMPARISONS:
        return _compared_wide if op.inputs[0].tensor.dtype in SHORT else None
    return DECOMPOSITIONS.get(op.definition)
