"""The pass manager: runs passes, checks their contracts, verifies, proves and times each, and keeps what changed."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from graphwright.ir import PassError, Program, print_program, verify
from graphwright.ir.pricing import GraphCost, graph_cost
from graphwright.ir.rewriting import NearMiss
from graphwright.passes.base import Contract, Pass
from graphwright.passes.proving.result import Proof, Prover


@dataclass(frozen=True)
class PassRecord:
    """What one pass did. `costs` are those of each graph after it; `seconds` count the verification, not the proof."""

    name: str
    lossy: bool
    hits: dict[str, int]
    near_misses: tuple[NearMiss, ...]
    ops_before: int
    ops_after: int
    seconds: float
    costs: dict[str, GraphCost]
    proof: Proof | None = None

    @property
    def changed(self) -> bool:
        return bool(self.hits)


@dataclass
class Report:
    """The records of a run, in order."""

    records: list[PassRecord] = field(default_factory=list[PassRecord])

    @property
    def seconds(self) -> float:
        return sum(r.seconds for r in self.records)


Observer = Callable[[Pass, str, str], None]
"""Called after each pass with the text of the program before and after it."""


def run_passes(
    program: Program, passes: Sequence[Pass], observer: Observer | None = None, prover: Prover | None = None
) -> Report:
    """Runs the passes on the program, in place. The program is verified after each one, and proven by the `prover`.

    Raises `PassError` if a contract does not hold or a pass refuses, `VerificationError` if a pass broke the graph,
    `ProofError` if it changed what the program computes.
    """
    report = Report()
    if prover is not None:
        prover.begin(program)
    for each in passes:
        _check(each, "needs", each.requires, program)
        before = print_program(program) if observer is not None else ""
        ops_before = _size(program)
        start = time.perf_counter()
        outcome = each.run(program)
        verify(program)
        seconds = time.perf_counter() - start
        _check(each, "should leave", each.ensures, program)
        costs = {name: graph_cost(graph) for name, graph in program.graphs.items()}
        proof = prover.check(each, program) if prover is not None else None
        report.records.append(
            PassRecord(
                str(each),
                each.lossy,
                dict(outcome.hits),
                tuple(outcome.near_misses),
                ops_before,
                _size(program),
                seconds,
                costs,
                proof,
            )
        )
        if observer is not None:
            observer(each, before, print_program(program))
    return report


def _check(each: Pass, verb: str, contracts: tuple[Contract, ...], program: Program) -> None:
    for contract in contracts:
        problem = contract(program)
        if problem is not None:
            raise PassError(f"{each.name} {verb} another program: {problem}")


def _size(program: Program) -> int:
    return sum(len(graph) for graph in program.graphs.values())


def difference(before: str, after: str) -> str:
    """The textual difference that a pass made, as a unified diff without file names; empty if it made none."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2))
    return "\n".join(lines[2:])
