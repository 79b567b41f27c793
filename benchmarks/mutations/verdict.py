"""Whether a fault changes answers: the faulty program beside the eager original in float64, without the prover."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.coverage.causal import CAPACITY, FEEDINGS
from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted
from benchmarks.coverage.reference import worst
from benchmarks.mutations.fault import Fault
from benchmarks.mutations.subjects import Subject
from graphwright.ir import Interpreter, PassError, Program, UnsupportedError, UserError, VerificationError
from graphwright.ir.convention import is_decoder
from graphwright.ir.errors import IRTypeError
from graphwright.passes import run_passes


@dataclass(frozen=True)
class Judgement:
    """`errors` are the largest error of any logit over the bound, by way of feeding; up to 1 is rounding. The first way
    that tells is the last.

    `refused` is what a later pass said where one stopped at what the fault had left; then the program was judged as the
    faulty pass left it. `invalid` is what the verifier or a contract said at the faulty pass itself.
    """

    errors: dict[str, float] = field(default_factory=dict[str, float])
    refused: str = ""
    invalid: str = ""

    @property
    def worst(self) -> float:
        return max(self.errors.values(), default=0.0)

    @property
    def changes(self) -> bool:
        return self.worst > 1


def judged(fault: Fault, subject: Subject) -> Judgement:
    """What the fault changes in the answers of the compiled subject."""
    passes, place = fault.planted(subject.passes), fault.place(subject.passes)
    program = subject.program.clone()
    try:
        run_passes(program, passes[: place + 1])
    except (VerificationError, PassError, IRTypeError) as problem:
        return Judgement(invalid=str(problem))
    rest = program.clone()
    try:
        run_passes(rest, passes[place + 1 :])
    except (PassError, UnsupportedError) as problem:
        left = errors if is_decoder(program) else _whole
        return Judgement(_up_to_one_that_tells(left(program, subject)), refused=str(problem))
    return Judgement(_up_to_one_that_tells(errors(rest, subject)))


def _up_to_one_that_tells(errors: Iterator[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, error in errors:
        found[name] = error
        if error > 1:
            break
    return found


def errors(program: Program, subject: Subject) -> Iterator[tuple[str, float]]:
    """Errors over the bound of a program with caches: prefill, in chunks, token by token, and in ragged batches."""
    start = interpreted(program, subject.contexts)
    for name, feeding in FEEDINGS.items():
        try:
            with torch.no_grad():
                logits = continued_logits(start, subject.rows[: feeding.rows], feeding.chunks, CAPACITY)
        except UserError:
            yield name, float("inf")  # the graph does not run at these shapes
        else:
            yield name, worst(logits, subject.exact[: feeding.rows]) / subject.bound


def _whole(program: Program, subject: Subject) -> Iterator[tuple[str, float]]:
    """Errors over the bound of a program without caches, over whole rows."""
    assert not subject.contexts, "no fault in an encoder-decoder model stops its pipeline"
    graph, interpreter = program.graphs["forward"], Interpreter()
    logits: Sequence[Tensor] = [interpreter.run(graph, {"input_ids": row[None]})["logits"][0] for row in subject.rows]
    yield "forward", worst(logits, subject.exact) / subject.bound
