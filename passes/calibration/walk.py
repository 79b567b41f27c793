"""Runs calibration tokens through a program, and stops at each product to say what it reads.

What is held of all rows at once is what crosses one narrow cut of the graph: for a transformer the residual stream,
tokens x size numbers. From there each batch of rows runs up to the stop by itself, as in Frantar et al. 2023, and what
it needs on the way, intermediates and the weights of the last few layers, is dropped behind it. A weight that is
replaced at a stop is the one that everything behind it sees, since nothing behind a stop has run before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir import Graph, Interpreter, Op, PassError, Program, Value
from graphwright.ir.convention import INPUT_IDS, LOGIT_POSITIONS, NEW_LENGTH, PAST_LENGTH
from graphwright.ir.interpreter import bind_symbols, cone
from graphwright.ir.lazy import torch
from graphwright.passes.base import report_progress
from graphwright.passes.calibration.cuts import Cuts
from graphwright.passes.calibration.sites import Site, calibration_graph, calibration_sites
from graphwright.passes.proving.cached import empty_states
from graphwright.passes.proving.inputs import chosen

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class InputStatistics:
    """Of the vectors x [size] that a linear layer read, over all calibration tokens.

    `second_moment` f32 [size, size] is the sum of x xᵀ, so the squared error that a change D [out, size] of the weight
    makes is trace(D second_moment Dᵀ); `total_magnitude` and `largest` f32 [size] are sum and maximum of |x|; `count`
    says how many vectors there were.
    """

    second_moment: Tensor
    total_magnitude: Tensor
    largest: Tensor
    count: int = 0

    @classmethod
    def empty(cls, size: int) -> InputStatistics:
        return cls(torch.zeros(size, size), torch.zeros(size), torch.zeros(size))

    @property
    def mean_magnitude(self) -> Tensor:
        return self.total_magnitude / max(self.count, 1)

    def add(self, x: Tensor) -> None:
        """Takes vectors x [..., size]."""
        rows = x.reshape(-1, x.shape[-1]).float()
        self.second_moment.addmm_(rows.T, rows)
        self.total_magnitude += rows.abs().sum(0)
        torch.maximum(self.largest, rows.abs().amax(0), out=self.largest)
        self.count += rows.shape[0]


TOKENS_AT_ONCE = 2048
"""Of how many tokens intermediates are held: enough to keep products of matrices busy."""


def calibrate(program: Program, tokens: Tensor, wanted: Callable[[Op], bool]) -> Iterator[tuple[Site, InputStatistics]]:
    """Each site with what its products read, in order. The caller may replace their weights before it goes on.

    `tokens` i64 [rows, length]. Raises `PassError` where the program cannot be calibrated, or not on so few tokens.
    """
    graph = calibration_graph(program)
    stops = calibration_sites(graph, lambda _: True)
    sites = {site.x: site for site in calibration_sites(graph, wanted)}
    _require_enough(tokens, list(sites.values()))
    walk = _Walk(graph, tokens)
    cuts = Cuts(graph, [stop.x for stop in stops], walk.symbols)
    done = 0
    for stop, start in zip(stops, cuts.starts(), strict=True):
        if done == len(sites):
            return
        crossing = cuts.crossing(start)
        if stop.x not in sites:
            walk.advance(crossing)
            continue
        report_progress(done, len(sites))
        statistics = InputStatistics.empty(stop.size)
        walk.advance(crossing, stop.x, statistics.add)
        yield sites[stop.x], statistics
        done += 1


def _require_enough(tokens: Tensor, sites: list[Site]) -> None:
    """With fewer vectors than a vector has numbers there are directions in which nothing was seen, and errors made
    there look free."""
    for site in sites:
        if tokens.numel() < site.size:
            raise PassError(
                f"{tokens.numel()} calibration tokens are too few: {site.ops[0].location or 'a linear layer'} reads "
                f"vectors of {site.size} numbers, give at least as many tokens"
            )


class _Walk:
    """Batches of rows that stand at one cut of the graph, each with the values that cross it."""

    def __init__(self, graph: Graph, tokens: Tensor) -> None:
        self._graph = graph
        self._batches = torch.split(tokens, max(1, TOKENS_AT_ONCE // tokens.shape[1]))
        self._held: list[dict[Value, Tensor]] = [{} for _ in self._batches]
        self.symbols: Mapping[str, int] = bind_symbols(graph, calibration_inputs(graph, tokens[:1]))
        """The sizes of one row."""

    def advance(
        self, crossing: list[Value], x: Value | None = None, see: Callable[[Tensor], None] | None = None
    ) -> None:
        """Goes on to the cut that these values cross; on the way `see` is shown each batch's x."""
        if x is None and all(set(crossing) == held.keys() for held in self._held):
            return
        # A new one each time, as it keeps the weights that it has read, and one may since have been replaced.
        interpreter = Interpreter()
        for batch in range(len(self._batches)):
            x_values = self._run(interpreter, batch, crossing, [] if x is None else [x])
            if see is not None:
                see(*x_values)
            # Before the next batch makes its own.
            del x_values

    def _run(self, interpreter: Interpreter, batch: int, crossing: list[Value], shown: list[Value]) -> list[Tensor]:
        """Takes one batch to the cut; returns the values to be shown."""
        held, wanted = self._held[batch], [*crossing, *shown]
        read = {v for op in cone(wanted, held) for v in op.inputs} | set(wanted)
        inputs = calibration_inputs(self._graph, self._batches[batch])
        known = {v: inputs[str(v.name)] for v in self._graph.inputs if v in read}
        found = interpreter.run_cone({**held, **known}, wanted, bind_symbols(self._graph, inputs))
        self._held[batch] = dict(zip(crossing, found, strict=False))
        return found[len(crossing) :]


def calibration_inputs(graph: Graph, rows: Tensor) -> dict[str, Tensor]:
    """What the graph takes beside token ids i64 [batch, length], over caches of that length in which nothing is yet."""
    batch, length = rows.shape
    count = torch.full((batch,), length)
    positions = torch.arange(length).expand(batch, length)
    lengths = {PAST_LENGTH: torch.zeros_like(count), NEW_LENGTH: count, LOGIT_POSITIONS: positions}
    return chosen(graph, {INPUT_IDS: rows, **lengths, **empty_states(graph, batch, length)})
