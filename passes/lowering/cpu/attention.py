"""Attention with what its kernel does besides: it reads caches of codes or f16, and puts heads side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.builder import Builder
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.cpu.attention import fused_attention, unreadable_codes
from graphwright.ir.dialects.cpu.packed_caches import dequantize_packed
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.types import DType
from graphwright.passes.base import register
from graphwright.passes.lowering.cpu.kernel_pass import Context, KernelPass


def attention_findings(made: OpDef) -> tuple[str, str, str]:
    """The names of the rules that make a target's attention: itself, codes that it reads, heads that it merges."""
    return made.name, f"{made.name}: codes inside", f"{made.name}: heads merged"


@register
@dataclass(frozen=True)
class FuseAttention(KernelPass):
    """`attention` becomes `cpu.attention`, and takes in `merge_heads` behind it and `dequantize_tensor`,
    `cpu.dequantize_packed`, or the `cast` of f16, before it."""

    name: ClassVar[str] = "cpu-attention"
    findings: ClassVar[tuple[str, ...]] = attention_findings(fused_attention)
    made: ClassVar[OpDef] = fused_attention
    halves: ClassVar[bool] = True
    """Whether the kernel reads keys and values of f16 beside queries of f32."""

    def lower(self, context: Context) -> None:
        graph = context.graph
        rule, codes, merged = attention_findings(self.made)
        for op in graph:
            if op.definition is not ops.attention:
                continue
            merge, apart = _merged(op, graph)
            problems = [(merged, apart)] if apart else []
            k, key_scale, key_problem = _read(op, "k", self.halves)
            v, value_scale, value_problem = _read(op, "v", self.halves)
            problems += [(codes, problem) for problem in (key_problem, value_problem) if problem]
            operands = (op.required("q"), k, v, *op.operands[3:], key_scale, value_scale)
            new = Builder(graph, op, op.location).op(
                self.made, *operands, **op.attributes, merged=merge is not None, ring=_ring(op)
            )
            if not context.takes(rule, op, new):
                continue
            last = op if merge is None else merge
            graph.replace(last.result, new.result)
            graph.erase_dead([last])
            context.spelt(rule, new)
            context.outcome.count(codes, sum(scale is not None for scale in (key_scale, value_scale)), op.location)
            for missed, problem in problems:
                context.near_miss(missed, new, problem)


def _ring(op: Op) -> int:
    """How many of the keys are a ring that the queries' own stand behind, by what tells their positions; 0 if none."""
    places = op.operand("key_positions")
    joined = None if places is None else places.defined_by(ops.concat)
    if joined is None or len(joined.inputs) != 2 or joined.inputs[1] is not op.required("positions"):
        return 0
    held = joined.inputs[0].defined_by(ops.ring_positions)
    return 0 if held is None else held.attribute("capacity", int)


def _merged(op: Op, graph: Graph) -> tuple[Op | None, str]:
    """The `merge_heads` behind attention, if nothing else reads the heads by themselves; else None and why."""
    users = op.result.users
    merge = next((user for user in users if user.definition is ops.merge_heads), None)
    if merge is None:
        return None, "its heads are not put side by side"
    other = next((user for user in users if user is not merge), None)
    if other is not None or graph.is_output(op.result):
        return None, f"{'an output' if other is None else other.name} reads its heads by themselves too"
    return merge, ""


def _read(op: Op, name: str, halves: bool) -> tuple[Value, Value | None, str]:
    """Keys or values as the kernel reads them, the scale if they are codes, and why they are not read as codes."""
    value = op.required(name)
    widened = value.defined_by(ops.cast)
    if (
        halves
        and widened is not None
        and (widened.inputs[0].tensor.dtype, value.tensor.dtype) == (DType.F16, DType.F32)
    ):
        return _held(widened.inputs[0]), None, ""
    packed = value.defined_by(dequantize_packed)
    reading = value.defined_by(ops.dequantize_tensor) if packed is None else packed
    if reading is None:
        return value, None, ""
    codes, scale = reading.required("codes"), reading.required("scale")
    problem = unreadable_codes(codes.tensor, scale.tensor)
    if packed is None and codes.tensor.dtype is DType.U8:
        problem = f"codes are {codes.tensor}, its kernel reads four axes of i8"
    if problem is not None:
        return value, None, f"{name}: {problem}"
    return _held(codes), _held(scale), ""


def _held(value: Value) -> Value:
    """The cache whose contents a value is, or the value itself."""
    read = value.defined_by(ops.kv_read)
    return value if read is None else read.inputs[0]
