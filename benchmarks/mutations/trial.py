"""One trial: a fault is planted, judged, and the prover asked, which does not know of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from benchmarks.mutations.fault import Fault
from benchmarks.mutations.subjects import Subject
from benchmarks.mutations.verdict import judged
from graphwright.ir import PassError, Program, UnsupportedError, VerificationError
from graphwright.passes import Pass, run_passes
from graphwright.passes.proving import Proof, ProofError, Prover


class ForkingProver(Prover, Protocol):
    """A prover of which there can be another that has seen the same."""

    def fork(self) -> ForkingProver: ...


MakeProver = Callable[[], ForkingProver]


@dataclass(frozen=True)
class Answer:
    """What a run with the prover ended with.

    `each`, `op` and `location` are those of the `ProofError`, empty without one; `checks` says how many passes the
    prover had been shown. `message` is that of whatever error there was.
    """

    caught: bool
    each: str = ""
    op: str = ""
    location: str = ""
    checks: int = 0
    message: str = ""


@dataclass(frozen=True)
class Trial:
    """A fault and what came of it. `change` is an error over the bound, None if the program does not run.

    `changes`: the judge sees another answer. `verifier`: what the verifier or a contract said of the faulty graph, in
    which case it is no test of the proof. `named`: the error names the faulty pass, and came when that one had run.
    """

    name: str
    description: str
    subject: str
    each: str
    harmless: bool
    changes: bool
    change: float | None
    verifier: str
    answer: Answer
    named: bool
    proof_seconds: float

    @property
    def as_it_should_be(self) -> bool:
        """A fault that changes answers is caught and its pass named; one that does not is let pass."""
        return bool(self.verifier) or (self.answer.caught and self.named if self.changes else not self.answer.caught)


@dataclass(frozen=True)
class _Underway:
    """A program after the first passes of a pipeline, and the prover that has seen them."""

    program: Program
    prover: ForkingProver
    checks: int = 0

    def step(self, each: Pass) -> _Underway | Answer:
        """The same one pass on; an answer where that ends the run."""
        program, prover = self.program.clone(), _Begun(self.prover.fork())
        try:
            run_passes(program, [each], prover=prover)
        except ProofError as error:
            return Answer(True, error.each, error.op, error.location, self.checks + 1, str(error))
        except (PassError, UnsupportedError, VerificationError) as refusal:
            return Answer(False, checks=self.checks + prover.checks, message=str(refusal))
        return _Underway(program, prover.prover, self.checks + 1)

    def run(self, passes: Sequence[Pass]) -> Answer:
        """What comes of all these passes."""
        state: _Underway | Answer = self
        for each in passes:
            state = state.step(each)
            if isinstance(state, Answer):
                return state
        return Answer(False, checks=state.checks)


class _Begun:
    """A prover that has been shown where the program comes from, and counts the passes it is shown from there."""

    def __init__(self, prover: ForkingProver) -> None:
        self.prover = prover
        self.checks = 0

    @property
    def notes(self) -> Sequence[str]:
        return self.prover.notes

    def begin(self, program: Program) -> None:
        pass

    def check(self, each: Pass, program: Program) -> Proof:
        self.checks += 1
        return self.prover.check(each, program)


@lru_cache(maxsize=1)
def _beginnings(subject: Subject, make_prover: MakeProver) -> list[_Underway | Answer]:
    """The subject before its passes; `_after` adds what it is after each, since many faults share these."""
    prover = make_prover()
    prover.begin(subject.program)
    return [_Underway(subject.program.clone(), prover)]


def _after(subject: Subject, make_prover: MakeProver, place: int) -> _Underway | Answer:
    """The subject after the first `place` passes of its own pipeline."""
    known = _beginnings(subject, make_prover)
    while len(known) <= place and isinstance(known[-1], _Underway):
        known.append(known[-1].step(subject.passes[len(known) - 1]))
    return known[min(place, len(known) - 1)]


def tried(fault: Fault, subject: Subject, make_prover: MakeProver) -> Trial:
    """Judges a fault, and runs the faulty pipeline with a new prover."""
    judgement = judged(fault, subject)
    passes, place = fault.planted(subject.passes), fault.place(subject.passes)
    begin = time.perf_counter()
    answer = asked(subject, passes, place, make_prover)
    return Trial(
        name=fault.name,
        description=fault.description,
        subject=fault.subject,
        each=str(passes[place]),
        harmless=fault.harmless,
        changes=judgement.changes,
        change=judgement.worst if math.isfinite(judgement.worst) else None,
        verifier=judgement.invalid,
        answer=answer,
        named=answer.caught and answer.each == str(passes[place]) and answer.checks == place + 1,
        proof_seconds=round(time.perf_counter() - begin, 2),
    )


def asked(subject: Subject, passes: Sequence[Pass], place: int, make_prover: MakeProver) -> Answer:
    """What a run of the passes says with a prover; those before `place` are the subject's own."""
    before = _after(subject, make_prover, place)
    return before if isinstance(before, Answer) else before.run(passes[place:])


def alarmed(subject: Subject, make_prover: MakeProver) -> Answer:
    """What the prover says of the subject's own pipeline, in which there is no fault."""
    return asked(subject, subject.passes, len(subject.passes), make_prover)
