"""Tidying of values that are put together from parts and cut again."""

from __future__ import annotations

from graphwright.ir import Builder, Dim, Value, ops
from graphwright.ir.ops.shape import slice_bounds
from graphwright.ir.rewriting import Match, Pattern, Refusal, Rule, rule


def _slice(x: Pattern) -> Pattern:
    return ops.slice(x)


@rule(_slice)
def slice_of_concat(match: Match, build: Builder) -> Value | Refusal:
    """A slice that lies within one of the concatenated parts is a slice of that part."""
    root, x = match.root, match["x"]
    concat = x.defined_by(ops.concat)
    axis, rank = root.attributes["axis"], x.type.rank
    assert isinstance(axis, int)
    axis %= rank
    if concat is None:
        return Refusal("it does not cut a concatenation")
    joined = concat.attributes["axis"]
    assert isinstance(joined, int)
    if joined % rank != axis or root.attributes["step"] != 1:
        return Refusal("it cuts another axis than the parts are joined on")
    bounds = root.attributes["start"], root.attributes["stop"]
    assert isinstance(bounds[0], Dim)
    assert isinstance(bounds[1], Dim)
    start, stop = slice_bounds(x.type.shape[axis], bounds[0], bounds[1])
    reached = Dim.of(0)
    for part in concat.inputs:
        end = reached + part.type.shape[axis]
        # of lengths that are not numbers only the exact bounds of a part are known to lie within it
        inside = _at_most(reached, start) and _at_most(stop, end)
        if inside:
            return build(ops.slice, part, axis=axis, start=start - reached, stop=stop - reached)
        reached = end
    return Refusal("it reaches over several parts")


def _at_most(a: Dim, b: Dim) -> bool:
    difference = (b - a).constant
    return difference is not None and difference >= 0


PARTS: tuple[Rule, ...] = (slice_of_concat,)
