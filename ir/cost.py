"""What an op costs: FLOPs, bytes moved and launches, as polynomials in the graph's symbols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir.dims import Dim
from graphwright.ir.types import Type

if TYPE_CHECKING:
    from graphwright.ir.graph import Graph, Op


@dataclass(frozen=True)
class Cost:
    """`flops` counts a multiply-add as two; `read` and `written` are in bits, so that 4-bit weights stay exact."""

    flops: Dim
    read: Dim
    written: Dim
    launches: Dim

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.flops + other.flops,
            self.read + other.read,
            self.written + other.written,
            self.launches + other.launches,
        )


ZERO = Dim.of(0)
FREE = Cost(ZERO, ZERO, ZERO, ZERO)


def bits(types: list[Type]) -> Dim:
    """The bits that values of these types take."""
    return sum((t.bits for t in types), ZERO)


def default_cost(op: Op, flops: Dim | None = None) -> Cost:
    """Operands read once, results written once; one FLOP a result element unless `flops` is given. Views are free."""
    if op.definition.view:
        return FREE
    if flops is None:
        flops = sum((v.type.elements for v in op.results if not _is_state(v.type)), ZERO)
    read = bits([v.type for v in op.inputs])
    return Cost(flops, read, bits([v.type for v in op.results]), Dim.of(1))


def _is_state(type: Type) -> bool:
    from graphwright.ir.types import StateType

    return isinstance(type, StateType)


def graph_cost(graph: Graph) -> Cost:
    """The sum over the ops of a graph, as if each value made one trip to memory."""
    total = FREE
    for op in graph:
        total = total + op.definition.price(op)
    return total
