"""Identities of slices, concatenations, repetitions and gathers."""

from graphwright.ir import Builder, Dim, Value, ops
from graphwright.ir.ops.shape import slice_bounds
from graphwright.ir.rewriting import Match, Refusal, Rule, attribute, rule


@rule(lambda x: ops.slice(x))
def slice_of_concat(match: Match, build: Builder) -> Value | Refusal:
    """A slice that lies within one of the concatenated parts is a slice of that part."""
    root, x = match.root, match["x"]
    concat = x.defined_by(ops.concat)
    rank = x.type.rank
    axis = root.attribute("axis", int) % rank
    if concat is None:
        return Refusal("it does not cut a concatenation")
    joined = concat.attribute("axis", int)
    if joined % rank != axis or root.attribute("step", int) != 1:
        return Refusal("it cuts another axis than the parts are joined on")
    start, stop = slice_bounds(x.type.shape[axis], root.attribute("start", Dim), root.attribute("stop", Dim))
    reached = Dim.of(0)
    for part in concat.inputs:
        end = reached + part.type.shape[axis]
        # of lengths that are not numbers only the exact bounds of a part are known to lie within it
        inside = _at_most(reached, start) and _at_most(stop, end)
        if inside:
            return build(ops.slice, part, axis=axis, start=start - reached, stop=stop - reached)
        reached = end
    return Refusal("it reaches over several parts")


@rule(lambda x: ops.reshape(ops.expand(x)))
def reshape_before_expand(match: Match, build: Builder) -> Value | Refusal:
    """A reshape that only adds or drops axes of length 1 goes in front of a repetition."""
    source, wide, result = match["x"].type.shape, match.root.inputs[0].type.shape, match.root.result.tensor.shape
    if [d for d in wide if d.constant != 1] != [d for d in result if d.constant != 1]:
        return Refusal("it folds axes")
    source = (*[Dim.of(1)] * (len(wide) - len(source)), *source)
    lengths = iter(before for before, after in zip(source, wide, strict=True) if after.constant != 1)
    narrow = tuple(d if d.constant == 1 else next(lengths) for d in result)
    return build(ops.expand, build(ops.reshape, match["x"], shape=narrow), shape=result)


@rule(
    lambda x, indices: ops.gather_elements(x, ops.expand(indices), axis=attribute("axis")),
    lambda x, indices: ops.gather_elements(x, indices, axis=attribute("axis")),
)
def gather_whole_slices(match: Match, build: Builder) -> Value | Refusal:
    """Elements picked by an index that is the same along all other axes are whole slices."""
    x, indices = match["x"], match["indices"]
    axis = match.attribute("axis", int) % x.type.rank
    result = match.root.result.tensor.shape
    if any(d.constant != 1 for i, d in enumerate(indices.type.shape) if i != axis + indices.type.rank - x.type.rank):
        return Refusal("the index differs along another axis")
    if any(a is not b for i, (a, b) in enumerate(zip(x.type.shape, result, strict=True)) if i != axis):
        return Refusal("it picks from part of the other axes")
    return build(ops.gather, x, build(ops.reshape, indices, shape=(result[axis],)), axis=axis)


def _at_most(a: Dim, b: Dim) -> bool:
    difference = (b - a).constant
    return difference is not None and difference >= 0


SLICE_IDENTITIES: tuple[Rule, ...] = (slice_of_concat, reshape_before_expand, gather_whole_slices)
