"""One trial: a fault is planted, judged, and the prover asked, which does not know of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.mutations.fault import Fault
from benchmarks.mutations.judge import judged
from benchmarks.mutations.subjects import Subject
from graphwright.ir import PassError, Program, VerificationError
from graphwright.passes import Pass, run_passes
from graphwright.passes.proving import Proof, ProofError, Prover

MakeProver = Callable[[], Prover]


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
    """A fault and what came of it. `change` is the largest error over the bound, None if the program does not run.

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


class _Counted:
    """A prover that counts the passes it is shown."""

    def __init__(self, prover: Prover) -> None:
        self.prover = prover
        self.checks = 0

    @property
    def notes(self) -> Sequence[str]:
        return self.prover.notes

    def begin(self, program: Program) -> None:
        self.prover.begin(program)

    def check(self, each: Pass, program: Program) -> Proof:
        self.checks += 1
        return self.prover.check(each, program)


def tried(fault: Fault, subject: Subject, make_prover: MakeProver) -> Trial:
    """Judges a fault, and runs the faulty pipeline with a new prover."""
    judgement = judged(fault, subject)
    passes, place = fault.planted(subject.passes), fault.place(subject.passes)
    begin = time.perf_counter()
    answer = asked(subject.program, passes, make_prover)
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


def asked(program: Program, passes: list[Pass], make_prover: MakeProver) -> Answer:
    """What a run of the passes over a copy of the program says with a prover."""
    prover = _Counted(make_prover())
    try:
        run_passes(program.clone(), passes, prover=prover)
    except ProofError as error:
        return Answer(True, error.each, error.op, error.location, prover.checks, str(error))
    except (PassError, VerificationError) as refusal:
        return Answer(False, checks=prover.checks, message=str(refusal))
    return Answer(False, checks=prover.checks)


def alarmed(subject: Subject, make_prover: MakeProver) -> Answer:
    """What the prover says of the subject's own pipeline, in which there is no fault."""
    return asked(subject.program, list(subject.passes), make_prover)
