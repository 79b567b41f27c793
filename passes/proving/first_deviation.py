"""The first op of a wrong program whose value deviates from what the right one computed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir import Dim, Graph, Interpreter, Op, Value
from graphwright.ir.convention import BATCH, CAPACITY, SEQUENCE
from graphwright.ir.interpreter import bind_symbols, cone
from graphwright.passes.proving.answers import Step

if TYPE_CHECKING:
    from torch import Tensor

B, S, C = Dim.of(BATCH), Dim.of(SEQUENCE), Dim.of(CAPACITY)
CLOSE = 2.0**-20
"""Relative to the largest number of a value: above what other constants in float32 change, below what a fault does."""

COARSE = 2.0**-14
"""The same between declared types and float64: above what layers of float32 sums add up to, below half precision."""


def first_deviating_op(wrong: Step, right: Step, interpreter: Interpreter) -> Op | None:
    """The first op of the wrong run that makes a value which the right run has not, on the way to its outputs.

    `right` is the run of the same row in one piece. A value is known if the right run made one of the same numbers, in
    any order and shape, for the same tokens, as queries or as keys. Values that a pass introduced are new without
    being wrong: where known ones follow, they are not looked at. None if every output is known.
    """
    known = _Known(right, wrong.start, wrong.count, interpreter)
    values = _values(wrong.graph, wrong.inputs, interpreter)
    deviating: dict[Op, int] = {}
    for number, op in enumerate(wrong.graph):
        made = [(v, values[v]) for v in op.results if v in values and values[v].is_floating_point()]
        if made and not any(known.has(_cut(v, x, wrong)) for v, x in made):
            deviating[op] = number
    reached: set[Op] = set()
    pending = [v.owner for v in wrong.graph.outputs.values() if v.owner is not None and v.owner in deviating]
    while pending:
        op = pending.pop()
        if op not in reached:
            reached.add(op)
            pending += [v.owner for v in op.inputs if v.owner is not None and v.owner in deviating]
    first = [op for op in reached if not any(v.owner in deviating for v in op.inputs)]
    return min(first, key=lambda op: deviating[op], default=None)


def first_rounding_op(step: Step, exact: Interpreter, declared: Interpreter) -> Op | None:
    """The first op of a run whose value, in declared types, is further from the exact one than float32 explains."""
    precise, rounded = (_values(step.graph, step.inputs, each) for each in (exact, declared))
    for op in step.graph:
        for value in op.results:
            if value in precise and precise[value].is_floating_point():
                found, wanted = _cut(value, rounded[value].double(), step), _cut(value, precise[value], step)
                if not _equal(found, wanted, COARSE):
                    return op
    return None


@dataclass(frozen=True)
class _Numbers:
    """Numbers in order, a few of them, and the largest."""

    sorted: Tensor
    few: list[float]
    scale: float

    @classmethod
    def of(cls, x: Tensor) -> _Numbers:
        numbers = x.flatten().sort().values
        few = [float(number) for number in numbers[:: max(1, len(numbers) // 4)]]
        return cls(numbers, few, _scale(numbers))

    def equals(self, other: _Numbers) -> bool:
        """As `_equal` says. Few numbers tell most values apart, with room for how the type rounds a difference."""
        pairs, close = zip(self.few, other.few, strict=True), 2 * CLOSE * other.scale
        near = all(a == b or abs(a - b) <= close or (math.isnan(a) and math.isnan(b)) for a, b in pairs)
        return near and _equal(self.sorted, other.sorted)


class _Known:
    """The numbers that the right run made for some tokens of its row."""

    def __init__(self, right: Step, start: int, count: int, interpreter: Interpreter) -> None:
        self.by_size: dict[int, list[_Numbers]] = {}
        ranges = [(0, right.count)] if not count else [(start, start + count), (0, start + count)]
        for value, x in _values(right.graph, right.inputs, interpreter).items():
            if x.is_floating_point():
                for begin, end in ranges:
                    numbers = _Numbers.of(_along(value, x, begin, end))
                    self.by_size.setdefault(len(numbers.sorted), []).append(numbers)

    def has(self, x: Tensor) -> bool:
        numbers = _Numbers.of(x)
        return any(numbers.equals(each) for each in self.by_size.get(len(numbers.sorted), ()))


def _values(graph: Graph, inputs: Mapping[str, Tensor], interpreter: Interpreter) -> dict[Value, Tensor]:
    bindings = bind_symbols(graph, inputs)
    wanted = [v for op in cone(list(graph.outputs.values())) for v in op.results]
    known = {v: inputs[str(v.name)] for v in graph.inputs}
    return dict(zip(wanted, interpreter.run_cone(known, wanted, bindings), strict=True))


def _cut(value: Value, x: Tensor, step: Step) -> Tensor:
    """The part of a value that belongs to the step's own row and real tokens; caches up to the last of them."""
    for axis, dim in enumerate(value.type.shape):
        if dim is B:
            x = x.narrow(axis, step.row, 1)
        elif dim is S and step.count:
            x = x.narrow(axis, 0, step.count)
        elif dim is C and step.count:
            x = x.narrow(axis, 0, min(x.shape[axis], step.start + step.count))
    return x


def _along(value: Value, x: Tensor, begin: int, end: int) -> Tensor:
    for axis, dim in enumerate(value.type.shape):
        if dim is S or dim is C:
            x = x.narrow(axis, begin, min(end, x.shape[axis]) - begin)
    return x


def _equal(a: Tensor, b: Tensor, close: float = CLOSE) -> bool:
    same = (a == b) | (a.isnan() & b.isnan())
    return bool((same | ((a - b).abs() <= close * _scale(b))).all())


def _scale(x: Tensor) -> float:
    """The largest of the numbers that are finite."""
    return float(x.abs().nan_to_num(posinf=0.0).max()) if x.numel() else 0.0
