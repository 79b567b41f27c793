"""What a program is asked in a proof, and what it answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from graphwright.ir import Graph, Interpreter, Program

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One run of a graph, with what is needed to look into it: which tokens of which row stand where.

    Row `row` of the batch holds, in its first `count` tokens, those from `start` on of the whole row.
    """

    graph: Graph
    inputs: dict[str, Tensor]
    row: int = 0
    start: int = 0
    count: int = 0


@dataclass(frozen=True)
class Answer:
    """Numbers [places, n] that should be those of the entry `key` of the truth at `places` (i64 [places])."""

    case: str
    key: str
    places: Tensor
    values: Tensor
    step: Step


Truth = dict[str, "Tensor"]
"""What is right: by key, numbers [places, n]; a place is a token of a row, or a whole output."""


class Trial(Protocol):
    """Questions for any stage of a program: as captured, or with caches."""

    def truth(self, program: Program, interpreter: Interpreter) -> Truth:
        """The plainest way to all answers, by a program that is taken for right."""
        ...

    def answers(self, program: Program, interpreter: Interpreter) -> Iterator[Answer]:
        """Every way in which the program can be asked, simple ones first."""
        ...

    def whole(self, program: Program, interpreter: Interpreter, key: str) -> Step | None:
        """The plainest run that gives the truth of `key`; None where there is none to compare values with."""
        ...
