"""Concatenation of weights, which undoes a cut where all the pieces of one weight come back together in order."""

from __future__ import annotations

from collections.abc import Sequence

from graphwright.ir import Dim, ops
from graphwright.ir.ops.shape import slice_bounds
from graphwright.ir.weights import Applied, WeightExpression


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
