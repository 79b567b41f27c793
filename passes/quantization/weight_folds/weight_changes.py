"""New expressions for weights, by the places that read them; put into a program all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphwright.ir import DType, Graph, Op, Program, StoredArray, Value, Weight, ops
from graphwright.ir.types import TensorType
from graphwright.ir.weights import Applied, WeightExpression

if TYPE_CHECKING:
    from torch import Tensor


Transform = Callable[[WeightExpression], WeightExpression]
"""Makes a weight of another; the type stays."""


def rounded_once(expression: WeightExpression, transform: Transform) -> WeightExpression:
    """The transform of an expression in float64, rounded to the expression's own type."""
    assert isinstance(expression.type, TensorType)
    return Applied.of(ops.cast, (transform(in_double(expression)),), {"dtype": expression.type.dtype})


def in_double(expression: WeightExpression) -> WeightExpression:
    """The expression in float64: what it was before it was rounded, if it was computed there."""
    if isinstance(expression, Applied) and expression.definition is ops.cast:
        (computed,) = expression.operands
        if computed is not None and isinstance(computed.type, TensorType) and computed.type.dtype is DType.F64:
            return computed
    return Applied.of(ops.cast, (expression,), {"dtype": DType.F64})


Place = tuple[Op, int]
"""An op and the index of its operand."""


def refusal_of_weight(value: Value) -> str | None:
    """Why nothing can be folded into an operand, in words; None for a weight that can take it within rounding."""
    if value.weight is None:
        return "is not a weight"
    if not isinstance(value.type, TensorType):
        return f"is quantized already ({value.type})"
    if value.type.dtype not in (DType.F32, DType.F64):
        return f"is {value.type.dtype}, to which a fold would round: run convert-dtype first"
    return None


@dataclass
class WeightChanges:
    """What each place reads instead of its weight. Places that read one weight and change alike go on sharing it."""

    _graphs: dict[Place, Graph] = field(default_factory=dict[Place, Graph])
    _expressions: dict[Place, WeightExpression] = field(default_factory=dict[Place, WeightExpression])

    def change(self, graph: Graph, op: Op, index: int, transform: Transform) -> None:
        """Applies a transform to what the place reads so far."""
        place = (op, index)
        self._graphs[place] = graph
        self._expressions[place] = transform(self._expressions.get(place, _weight(place).expression))

    def apply(self, program: Program) -> None:
        """Replaces the expressions of weights in place. Where readers of one weight differ from now on, those keep it
        that do not change, else those of its first reader; the others get a weight of their own."""
        groups: dict[Weight, dict[WeightExpression, list[Place]]] = {}
        for place, expression in self._expressions.items():
            groups.setdefault(_weight(place), {}).setdefault(expression, []).append(place)
        for weight, expressions in groups.items():
            values = [v for graph in program.graphs.values() for v in graph.weights if v.weight is weight]
            readers = [use for value in values for use in value.uses]
            keeping = self._expressions[readers[0]] if all(use in self._expressions for use in readers) else None
            for expression, places in expressions.items():
                if expression == keeping:
                    continue
                new = program.add_weight(f"{weight.name}.folded", expression)
                for op, index in places:
                    graph = self._graphs[op, index]
                    graph.set_operand(op, index, graph.weight(new))
            if keeping is not None:
                weight.expression = keeping
        for graph in program.graphs.values():
            graph.erase_dead()
        program.erase_unused_weights()


def _weight(place: Place) -> Weight:
    op, index = place
    value = op.operands[index]
    assert value is not None, f"{op} has no operand {index}"
    assert value.weight is not None, f"operand {index} of {op} is not a weight"
    return value.weight


def times(factors: Tensor) -> Transform:
    """The transform that multiplies a weight by factors that broadcast to it."""
    stored = StoredArray.of(factors.double())
    return lambda expression: rounded_once(expression, lambda w: Applied.of(ops.mul, (w, stored), {}))
