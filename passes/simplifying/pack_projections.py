"""Packing of projections: products of one input with several weights become one product, split afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Dim, Graph, Op, Program, Value, ops
from graphwright.ir.ops.shape import slice_bounds
from graphwright.ir.rewriting import Outcome
from graphwright.ir.weights import Applied, WeightExpression
from graphwright.passes.base import GraphPass, register

CARRIERS = frozenset(
    {ops.split_heads, ops.rope, ops.kv_append, ops.reshape, ops.transpose, ops.rms_norm, ops.layer_norm, ops.cast}
)
"""Ops that a projection may pass on its way to where it is used: it keeps all its elements, each once.
Not every cheap op is one: what repeats, cuts or joins projections makes something else of them."""
SINKS = frozenset({ops.attention, ops.glu})


@register
@dataclass(frozen=True)
class PackProjections(GraphPass):
    """q, k and v of one attention, and gate and up of one gated unit, are computed by one product.

    One product reads its input once and has one launch; the weights are read once either way.
    """

    name: ClassVar[str] = "pack-projections"
    findings: ClassVar[tuple[str, ...]] = (
        "qkv",
        "gate-up",
        "pack-projections",
    )

    def run_graph(self, program: Program, graph: Graph) -> Outcome:
        outcome = Outcome()
        for sink in [op for op in graph if op.definition in SINKS]:
            _pack(program, graph, sink, outcome)
        return outcome


def _projection(value: Value | None) -> Op | None:
    """The projection that an operand of a sink comes from."""
    while value is not None and value.owner is not None:
        op = value.owner
        if op.definition is ops.linear:
            return op
        if op.definition is ops.concat and op.inputs[0].defined_by(ops.kv_read) is not None and len(op.inputs) == 2:
            value = op.inputs[1]  # the new tokens behind a ring's past
            continue
        if op.definition not in CARRIERS:
            return None
        value = op.operand("new") if op.definition is ops.kv_append else op.operands[0]
    return None


def _pack(program: Program, graph: Graph, sink: Op, outcome: Outcome) -> None:
    operands = sink.operands[:3] if sink.definition is ops.attention else sink.operands[:2]
    projections = [p for p in dict.fromkeys(map(_projection, operands)) if p is not None]
    groups: dict[Value, list[Op]] = {}
    for projection in projections:
        groups.setdefault(projection.required("x"), []).append(projection)
    for x, group in groups.items():
        if len(group) < 2:
            continue
        problem = _problem(group)
        if problem is not None:
            outcome.miss("pack-projections", sink, 2, problem)
            continue
        first = min(group, key=lambda op: next(i for i, other in enumerate(graph) if other is op))
        build = Builder(graph, first, _common_location(group))
        packed = build(ops.linear, x, _concatenated(program, graph, group, "weight"), _bias(program, graph, group))
        sizes = tuple(op.result.type.shape[-1].evaluate({}) for op in group)
        parts = build.op(ops.split, packed, axis=packed.type.rank - 1, sizes=sizes)
        for op, part in zip(group, parts.results, strict=True):
            graph.replace(op.result, part)
        outcome.hit("gate-up" if sink.definition is ops.glu else "qkv", sink, group)


def _problem(group: list[Op]) -> str | None:
    if any(op.required("weight").weight is None for op in group):
        return "a matrix is not a weight"
    biases = [op.operand("bias") for op in group]
    if any(b is None for b in biases) != all(b is None for b in biases):
        return "some projections have a bias and some have none"
    if any(b is not None and b.weight is None for b in biases):
        return "a bias is not a weight"
    if any(op.result.type.shape[-1].constant is None for op in group):
        return "a projection's size is not fixed"
    return None


def _concatenated(program: Program, graph: Graph, group: list[Op], name: str) -> Value:
    parts: list[WeightExpression] = []
    names: list[str] = []
    for op in group:
        weight = op.required(name).weight
        assert weight is not None
        parts.append(weight.expression)
        names.append(weight.name)
    packed = program.add_weight(_common_name(names), concatenate(parts))
    return graph.weight(packed)


def _bias(program: Program, graph: Graph, group: list[Op]) -> Value | None:
    return None if group[0].operand("bias") is None else _concatenated(program, graph, group, "bias")


def _common_name(names: list[str]) -> str:
    """`attn.q.weight` and `attn.k.weight` together are `attn.q_k.weight`."""
    parts = [n.split(".") for n in names]
    if len({len(p) for p in parts}) != 1:
        return names[0] + ".packed"
    return ".".join("_".join(dict.fromkeys(column)) for column in zip(*parts, strict=True))


def _common_location(group: list[Op]) -> str:
    """The deepest module that holds all of them."""
    parts = [op.location.split(".") for op in group]
    common: list[str] = []
    for column in zip(*parts, strict=False):
        if len(set(column)) != 1:
            break
        common.append(column[0])
    return ".".join(common)


def concatenate(parts: Sequence[WeightExpression]) -> WeightExpression:
    """The parts one after another along axis 0; the whole weight itself if they are its consecutive pieces."""
    return _whole(parts) or Applied.of(ops.concat, tuple(parts), {"axis": 0})


def _whole(parts: Sequence[WeightExpression]) -> WeightExpression | None:
    source: WeightExpression | None = None
    reached = Dim.of(0)
    for part in parts:
        if not isinstance(part, Applied) or part.definition is not ops.slice:
            return None
        (cut,) = part.operands
        if cut is None or (source is not None and cut != source):
            return None
        if part.attribute("axis", int) != 0 or part.attribute("step", int) != 1:
            return None
        begin, end = slice_bounds(cut.type.shape[0], part.attribute("start", Dim), part.attribute("stop", Dim))
        if begin is not reached:
            return None
        source, reached = cut, end
    return source if source is not None and reached is source.type.shape[0] else None
