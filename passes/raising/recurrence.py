"""Spellings of what mixes each token with those before it become ops that can go on from a state.

A convolution along the tokens with as many zeros before them as its window reaches back is a `causal_conv`, whether
the zeros are its own padding, joined on, or followed by a cut to the sequence's length. Tokens moved on by some places
are one too, with a window that picks. A running sum over tokens is `running_sum`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Dim, DType, Graph, Op, Program, Value, ops
from graphwright.ir.convention import BATCH, SEQUENCE
from graphwright.ir.declare import OpDef
from graphwright.ir.ops.shape import slice_bounds
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import GraphPass, register
from graphwright.passes.raising.probing import positional_values

TOKENS, ROWS = Dim.of(SEQUENCE), Dim.of(BATCH)


@register
@dataclass(frozen=True)
class RaiseRecurrence(GraphPass):
    """Padded convolutions, shifts and running sums along the tokens become ops with a recurrent state."""

    name: ClassVar[str] = "raise-recurrence"
    findings: ClassVar[tuple[str, ...]] = (
        "causal_conv",
        "running_sum",
        "raise-recurrence",
    )

    def run_graph(self, program: Program, graph: Graph) -> Outcome:
        outcome = Outcome()
        positional = positional_values(graph)
        for op in [op for op in graph if op.definition in _RAISE and not positional(op.results[0])]:
            if op.erased or any(positional(v) != (i > 0) for i, v in enumerate(_moving(op))):
                continue
            found = _RAISE[op.definition](graph, op)
            if isinstance(found, str):
                outcome.miss(self.name, op, 1, found)
            elif found is not None:
                outcome.hit(found.name, op)
                graph.erase_dead([op])
        return outcome


def _moving(op: Op) -> list[Value]:
    """The operand that holds the tokens and then those that must not."""
    return [] if op.definition is ops.concat else op.inputs


def _convolution(graph: Graph, op: Op) -> Op | str | None:
    """The causal convolution that this one is; a reason why it is none; None if it is not along the tokens."""
    weight = op.required("weight")
    width, (before, after) = weight.type.shape[-1].constant, _pair(op)
    x, zeros_before, zeros_after = _without_zeros(op.required("x"), 2)
    if weight.type.rank != 3 or width in (None, 1) or x.type.shape[2] is not TOKENS or x.type.shape[0] is not ROWS:
        return None
    assert width is not None
    dilation, stride = (op.attribute(name, tuple[int, ...])[0] for name in ("dilation", "stride"))
    before, after, reach = before + zeros_before, after + zeros_after, (width - 1) * dilation
    if stride != 1:
        return f"a stride of {stride} along the tokens"
    if before != reach:
        return f"{before} zeros before the tokens under a window that reaches {reach} back"
    results = [op.result] if not after else _cut_to_sequence(graph, op.result)
    if results is None:
        return "its results beyond the sequence's length are used"
    build = Builder(graph, op, op.location)
    attributes = {"groups": op.attributes["groups"], "dilation": dilation}
    new = build.op(ops.causal_conv, x, weight, op.operand("bias"), **attributes)
    for result in results:
        graph.replace(result, new.results[0])
    return new


def _pair(op: Op) -> tuple[int, int]:
    padding = op.attribute("padding", tuple[int, ...])
    return padding[0], padding[len(padding) // 2]


def _without_zeros(x: Value, axis: int) -> tuple[Value, int, int]:
    """The value without the zeros joined on before and after it along the axis, and how many they are."""
    before = after = 0
    while (join := x.defined_by(ops.concat)) is not None and _axis(join) == axis:
        inner = [i for i, v in enumerate(join.inputs) if not _is_zero(v)]
        if len(inner) != 1:
            break
        lengths = [v.type.shape[axis].constant for v in join.inputs]
        sides = (lengths[: inner[0]], lengths[inner[0] + 1 :])
        if any(n is None for side in sides for n in side):
            break
        before += sum(n or 0 for n in sides[0])
        after += sum(n or 0 for n in sides[1])
        x = join.inputs[inner[0]]
    return x, before, after


def _is_zero(value: Value) -> bool:
    constant = value.defined_by(ops.constant)
    return constant is not None and constant.attributes["value"] == 0


def _axis(op: Op) -> int:
    axis = op.attribute("axis", int)
    return axis % op.results[0].type.rank


def _cut_to_sequence(graph: Graph, value: Value) -> list[Value] | None:
    """The results of the slices that use the value, if each takes the first tokens, as many as the sequence has."""
    users = value.users
    cuts = [u for u in users if u.definition is ops.slice and _axis(u) == 2 and _bounds(u) == (Dim.of(0), TOKENS)]
    whole = cuts and len(cuts) == len(users) and not graph.is_output(value)
    return [u.result for u in cuts] if whole else None


def _bounds(op: Op) -> tuple[Dim, Dim] | None:
    """Start and stop of a slice of neighbours, counted from the front."""
    start, stop = op.attribute("start", Dim), op.attribute("stop", Dim)
    return slice_bounds(op.inputs[0].type.shape[_axis(op)], start, stop) if op.attribute("step", int) == 1 else None


def _shift(graph: Graph, op: Op) -> Op | str | None:
    """Zeros and then the tokens but for the last: each place holds an earlier token."""
    axis, type = _axis(op), op.result.tensor
    x, places, after = _without_zeros(op.result, axis)
    cut = x.defined_by(ops.slice)
    if type.rank != 3 or axis == 0 or type.shape[axis] is not TOKENS or type.shape[0] is not ROWS or not places:
        return None
    if cut is None or _axis(cut) != axis or after or _bounds(cut) != (Dim.of(0), TOKENS - places):
        return None
    source = cut.inputs[0]
    if source.type.shape[axis] is not TOKENS or not type.dtype.is_float:
        return None
    channels = type.shape[3 - axis].constant
    if channels is None:
        return None
    build = Builder(graph, op, op.location)
    order = (0, 2, 1)
    # The first column of the window falls on the earliest token.
    picks = build.constant(1.0, type.dtype, channels, 1, 1)
    rest = build.constant(0.0, type.dtype, channels, 1, places)
    weight = build(ops.concat, picks, rest, axis=2)
    tokens_last = source if axis == 2 else build(ops.transpose, source, permutation=order)
    new = build.op(ops.causal_conv, tokens_last, weight, groups=channels)
    shifted = new.results[0]
    graph.replace(op.result, shifted if axis == 2 else build(ops.transpose, shifted, permutation=order))
    return new


def _running_sum(graph: Graph, op: Op) -> Op | str | None:
    x, axis = op.inputs[0], _axis(op)
    if x.type.shape[axis] is not TOKENS or x.type.shape[0] is not ROWS or axis == 0:
        return None
    build = Builder(graph, op, op.location)
    numbers = x if op.result.type == x.type else build(ops.cast, x, dtype=DType.I64)
    new = build.op(ops.running_sum, numbers, axis=axis)
    graph.replace(op.result, new.results[0])
    return new


_RAISE: dict[OpDef, Callable[[Graph, Op], Op | str | None]] = {
    ops.convolution: _convolution,
    ops.concat: _shift,
    ops.cumsum: _running_sum,
}
