"""Phases, visibly: graphs that are `prefill` at the sizes of one phase."""

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Graph, Program, clone_graph
from graphwright.ir.convention import (
    BATCH,
    DECODE,
    DECODE_ONE_ROW,
    DECODE_ROWS,
    POSITIONS,
    PREFILL,
    SEQUENCE,
    VERIFY,
    fixed_sizes,
)
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import Pass, PassError, has_prefill, register


@register
@dataclass(frozen=True)
class Specialize(Pass):
    """Adds graphs that are `prefill` at fixed sizes, same weights and caches, to be proven, priced and lowered apart.

    `decode` takes one token of each of B rows. `one_row` asks for `decode_one_row` too, which is `decode` for one row,
    `rows` for its kin of 2, 4, 8 and 16 rows, up to so many; `verify` for the graph of that name, of so many tokens of
    each row, whose logits are all wanted. A graph that the program has already stays as it is; one of other sizes than
    those asked for is refused.
    """

    name: ClassVar[str] = "specialize"
    findings: ClassVar[tuple[str, ...]] = (DECODE, DECODE_ONE_ROW, *(name for _, name in DECODE_ROWS), VERIFY)
    requires = (has_prefill,)
    one_row: bool = False
    rows: int = 0
    verify: int = 0

    def run(self, program: Program) -> Outcome:
        if self.verify and self.verify < 2:
            raise PassError(
                f"specialize: verify is {self.verify}; it must be at least 2 tokens, or 0 for no such graph"
            )
        if self.rows and self.rows not in dict(DECODE_ROWS):
            known = ", ".join(str(rows) for rows, _ in DECODE_ROWS)
            raise PassError(f"specialize: rows is {self.rows}; it must be {known}, or 0")
        outcome = Outcome()
        self._add(program, PREFILL, DECODE, {SEQUENCE: 1}, outcome)
        if self.one_row:
            self._add(program, DECODE, DECODE_ONE_ROW, {BATCH: 1, SEQUENCE: 1, POSITIONS: 1}, outcome)
        for rows, name in DECODE_ROWS:
            if rows <= self.rows:
                self._add(program, DECODE, name, {BATCH: rows, SEQUENCE: 1, POSITIONS: 1}, outcome)
        if self.verify:
            self._add(program, PREFILL, VERIFY, {SEQUENCE: self.verify, POSITIONS: self.verify}, outcome)
        return outcome

    def _add(self, program: Program, source: str, name: str, sizes: dict[str, int], outcome: Outcome) -> None:
        if name in program.graphs:
            _check_sizes(program.graphs[name], program.graphs[PREFILL], sizes)
            return
        program.graphs[name] = clone_graph(program.graphs[source], name, dict(sizes))
        outcome.hit(name)


def _check_sizes(graph: Graph, general: Graph, wanted: dict[str, int]) -> None:
    found = fixed_sizes(graph, general)
    if found != {symbol: size for symbol, size in wanted.items() if symbol in general.symbols}:
        sizes = ", ".join(f"{symbol} = {size}" for symbol, size in found.items()) or "any size"
        raise PassError(f"specialize: the program has a graph '{graph.name}' already, and it is for {sizes}")
