"""A pass that does wrong on purpose: it runs another pass, if any, and then spoils the program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Graph, Op, Program
from graphwright.ir.attributes import Attribute
from graphwright.ir.declare import OpDef
from graphwright.ir.rewriting import Outcome
from graphwright.passes import Pass


@dataclass(frozen=True)
class Spoils(Pass):
    """Runs the right pass and then `spoil` on the program."""

    spoil: Callable[[Program], object]
    right: Pass | None = None

    name: ClassVar[str] = "spoils"

    def run(self, program: Program) -> Outcome:
        outcome = self.right.run(program) if self.right is not None else Outcome()
        self.spoil(program)
        return outcome

    def __str__(self) -> str:
        return self.name


def find(graph: Graph, definition: OpDef, number: int = 0) -> Op:
    """The op of that kind which stands at that place among its like."""
    return [op for op in graph if op.definition is definition][number]


def attribute(
    definition: OpDef, graph: str = "forward", number: int = 0, **changed: Attribute
) -> Callable[[Program], None]:
    """A fault: other attributes for one op."""

    def spoil(program: Program) -> None:
        find(program.graphs[graph], definition, number).attributes.update(changed)

    return spoil
