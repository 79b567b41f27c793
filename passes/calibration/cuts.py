"""Where a run through a graph may be taken up again: cuts of the order of ops that few numbers cross.

A transformer's narrow cuts lie between its blocks, where only the residual stream is alive. What does not depend on
tokens (positions, masks) is computed again, so it does not count.
"""

from collections.abc import Mapping, Sequence

from graphwright.ir import Graph, Op, Value
from graphwright.ir.convention import INPUT_IDS
from graphwright.ir.interpreter import cone

WINDOW = 3
"""How many stops a run may begin before the one that it is for: the price of narrow cuts is that each op runs as often
again. Past three, transformers have none narrower."""


class Cuts:
    """Cut c of a graph lies before op c of those that the stops need; each stop is where a value becomes known.

    `stops` are the values in the order in which they come; `symbols` gives the sizes of one row.
    """

    def __init__(self, graph: Graph, stops: Sequence[Value], symbols: Mapping[str, int]) -> None:
        needed = set(cone(stops))
        order = [op for op in graph if op in needed]
        self._known = {v: i + 1 for i, op in enumerate(order) for v in op.results}
        self._last = {v: i for i, op in enumerate(order) for v in op.inputs if v in self._known}
        self._places = [self._known.get(v, 0) for v in stops]
        for value, place in zip(stops, self._places, strict=True):
            self._last[value] = max(self._last.get(value, 0), place)
        self._tokens = _token_values(graph, order)
        self._widths = self._count(len(order) + 1, symbols)

    def starts(self) -> list[int]:
        """Of each stop the cut where a run for it begins: the narrowest behind the last few stops, at best the last."""
        starts: list[int] = []
        for i, place in enumerate(self._places):
            least = self._places[i - WINDOW] if i >= WINDOW else 0
            least = max(least, starts[-1] if starts else 0)
            starts.append(min(range(place, least - 1, -1), key=self._widths.__getitem__))
        return starts

    def crossing(self, cut: int) -> list[Value]:
        """The values that have to be kept at a cut."""
        return [v for v in self._tokens if self._known[v] <= cut <= self._last.get(v, -1)]

    def width(self, cut: int) -> int:
        """The bytes of a row that cross a cut."""
        return self._widths[cut]

    def _count(self, cuts: int, symbols: Mapping[str, int]) -> list[int]:
        changes = [0] * (cuts + 1)
        for value in self._tokens:
            if value in self._last:
                size = -(-value.type.bits.evaluate(symbols) // 8)
                changes[self._known[value]] += size
                changes[self._last[value] + 1] -= size
        widths: list[int] = []
        for change in changes[:cuts]:
            widths.append(change + (widths[-1] if widths else 0))
        return widths


def _token_values(graph: Graph, order: Sequence[Op]) -> list[Value]:
    """The values that depend on token ids, in order."""
    found = {v: None for v in graph.inputs if v.name == INPUT_IDS}
    for op in order:
        if any(v in found for v in op.inputs):
            found.update(dict.fromkeys(op.results))
    return [v for v in found if v.owner is not None]
