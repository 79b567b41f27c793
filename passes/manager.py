"""The pass manager: runs passes, checks their contracts, verifies, proves and times each, and keeps what changed."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from graphwright.ir import PassError, Program, verify
from graphwright.ir.pricing import GraphCost, graph_cost
from graphwright.ir.rewriting import NearMiss, Outcome
from graphwright.ir.rewriting.near_misses import unresolved_near_misses
from graphwright.passes.base import Contract, Pass, progress_to
from graphwright.passes.proving.result import Proof, Prover


@dataclass(frozen=True)
class PassRecord:
    """What one pass did.

    `places` says of each rule how often it matched in which module, `near_misses` where it nearly did, `candidates`
    how many ops of the kind that it begins at are left. `costs` are those of each graph after the pass; `seconds` count
    the verification, not the proof.
    """

    name: str
    lossy: bool
    places: dict[str, Counter[str]]
    near_misses: tuple[NearMiss, ...]
    candidates: Counter[str]
    ops_before: int
    ops_after: int
    seconds: float
    costs: dict[str, GraphCost]
    proof: Proof | None = None

    @property
    def hits(self) -> dict[str, int]:
        """How often each rule matched."""
        return {rule: places.total() for rule, places in self.places.items()}

    @property
    def changed(self) -> bool:
        return bool(self.places)


@dataclass
class Report:
    """The records of a run, in order."""

    records: list[PassRecord] = field(default_factory=list[PassRecord])

    @property
    def seconds(self) -> float:
        return sum(r.seconds for r in self.records)

    @property
    def hits(self) -> Counter[str]:
        """How often each rule matched, in all passes."""
        return sum((Counter(r.hits) for r in self.records), Counter[str]())

    @property
    def near_misses(self) -> list[NearMiss]:
        """Those of all passes."""
        return [miss for r in self.records for miss in r.near_misses]


class Observer(Protocol):
    """Is shown the program before and after each pass; after it, once it is verified and before it is proven.

    `during` says how many steps of how many a pass that takes long has done.
    """

    def before(self, each: Pass, program: Program) -> None: ...

    def during(self, each: Pass, done: int, total: int) -> None: ...

    def after(self, each: Pass, program: Program) -> None: ...


class Run:
    """Passes that run on a program, in place, one step after another. `report` is of those that are done."""

    def __init__(self, program: Program, observer: Observer | None = None, prover: Prover | None = None) -> None:
        self.program = program
        self._observer, self._prover = observer, prover
        self._records: list[PassRecord] = []
        self._outcomes: list[Outcome] = []
        if prover is not None:
            prover.begin(program)

    def step(self, each: Pass) -> None:
        """Runs one pass; raises as `run_passes` does."""
        program, observer, prover = self.program, self._observer, self._prover
        _check(each, "needs", each.requires, program)
        if observer is not None:
            observer.before(each, program)
        ops_before = _size(program)
        start = time.perf_counter()
        with progress_to(None if observer is None else partial(observer.during, each)):
            outcome = each.run(program)
        verify(program)
        seconds = time.perf_counter() - start
        _check(each, "should leave", each.ensures, program)
        if observer is not None:
            observer.after(each, program)
        costs = {name: graph_cost(graph) for name, graph in program.graphs.items()}
        proof = prover.check(each, program) if prover is not None else None
        ops_after = _size(program)
        record = PassRecord(
            str(each), each.lossy, outcome.places, (), outcome.candidates, ops_before, ops_after, seconds, costs, proof
        )
        self._records.append(record)
        self._outcomes.append(outcome)

    def report(self) -> Report:
        """The passes so far. What one nearly matched and a later one did match is no near miss any more."""
        near_misses = unresolved_near_misses(self._outcomes)
        return Report([replace(r, near_misses=m) for r, m in zip(self._records, near_misses, strict=True)])


def run_passes(
    program: Program, passes: Sequence[Pass], observer: Observer | None = None, prover: Prover | None = None
) -> Report:
    """Runs the passes on the program, in place. The program is verified after each one, and proven by the `prover`.

    Raises `PassError` if a contract does not hold or a pass refuses, `VerificationError` if a pass broke the graph,
    `ProofError` if it changed what the program computes.
    """
    run = Run(program, observer, prover)
    for each in passes:
        run.step(each)
    return run.report()


def _check(each: Pass, verb: str, contracts: tuple[Contract, ...], program: Program) -> None:
    for contract in contracts:
        problem = contract(program)
        if problem is not None:
            raise PassError(f"{each.name} {verb} another program: {problem}")


def _size(program: Program) -> int:
    return sum(len(graph) for graph in program.graphs.values())
