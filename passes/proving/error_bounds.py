"""The answers of a program in float64, and at each place the error that rounding in float32 explains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir import Program
from graphwright.ir.lazy import torch
from graphwright.passes.proving.answers import Answer, Trial, Truth
from graphwright.passes.proving.float64_interpreter import FLOAT32, Float64Interpreter, NoisyInterpreter

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES = 3
FACTOR = 4.0
"""Bounds are this many times the noise seen: what a pass may do (round other constants, sum in another order) differs
from what was sampled in its direction, not in its size."""


@dataclass(frozen=True)
class Deviation:
    """The answer with the largest error relative to its bound, and the error and bound at that place."""

    answer: Answer
    error: float
    bound: float

    @property
    def ratio(self) -> float:
        return 0.0 if self.error == 0 else self.error / self.bound if self.bound else float("inf")


@dataclass(frozen=True)
class ErrorBounds:
    """The truth in float64, and for each place of each entry the noise that float32 rounding makes there.

    Of several samples the median counts: where rounding turns a choice (a router's tie), one sample says nothing.
    """

    truth: Truth
    noise: dict[str, Tensor]
    float32_sums: float
    """The median over all places of the noise that a computation in float32 makes, its sums included."""

    @classmethod
    def of(cls, trial: Trial, program: Program, interpreter: Float64Interpreter) -> ErrorBounds:
        """Bounds around the program's own answers."""
        truth = trial.truth(program, interpreter)
        samples = [trial.truth(program, NoisyInterpreter(seed, folds=interpreter.folds)) for seed in range(SAMPLES)]
        noise = {
            key: torch.stack([distances(sample[key], values) for sample in samples]).median(0).values
            for key, values in truth.items()
        }
        summed = trial.truth(program, NoisyInterpreter(SAMPLES, FLOAT32, interpreter.folds))
        return cls(truth, noise, _median([distances(summed[key], values) for key, values in truth.items()]))

    def worst(self, answers: Iterable[Answer]) -> Deviation:
        """The first answer that leaves its bounds, or the one that comes nearest to it."""
        found: Deviation | None = None
        for answer in answers:
            deviation = self._deviation(answer)
            if found is None or deviation.ratio > found.ratio:
                found = deviation
            if found.ratio > 1:
                break
        assert found is not None, "a trial without answers"
        return found

    def rounding(self, answers: Iterable[Answer]) -> tuple[float, int]:
        """The median distance of all places from the truth, for answers in declared precision, and how many places
        overflow or are no numbers where the truth has some.

        The median is robust against choices that rounding turned at some places; it moves when a computation is made
        in a narrower type.
        """
        every = [distances(a.values, self.truth[a.key][a.places]) for a in answers]
        return _median(every), sum(int(each.isinf().sum()) for each in every)

    @property
    def float32_rounding(self) -> float:
        """The median over all places of what one rounding to float32 an op explains."""
        return _median(list(self.noise.values()))

    def _deviation(self, answer: Answer) -> Deviation:
        truth = self.truth[answer.key]
        error = distances(answer.values, truth[answer.places])
        bound = FACTOR * self.noise[answer.key][answer.places]
        ratio = torch.where(error == 0, 0.0, error / bound)
        place = int(ratio.argmax())
        return Deviation(answer, float(error[place]), float(bound[place]))


def _median(parts: list[Tensor]) -> float:
    return float(torch.cat(parts).median())


def distances(found: Tensor, wanted: Tensor) -> Tensor:
    """Of each place the largest distance of a number, float64 [places]; infinite where only one is a number."""
    if found.shape != wanted.shape:
        return torch.full(wanted.shape[:1], float("inf"), dtype=torch.float64)
    found, wanted = found.double(), wanted.double()
    same = (found == wanted) | (found.isnan() & wanted.isnan())
    distance = torch.where(same, 0.0, (found - wanted).abs()).nan_to_num(nan=float("inf"), posinf=float("inf"))
    return distance.flatten(1).amax(1) if distance.numel() else distance.new_zeros(len(distance))


def divergence(found: Iterable[Answer], truth: Truth) -> tuple[float, float]:
    """Mean KL divergence of the answers from the truth as distributions over the vocabulary, in nats a token, and the
    largest absolute error of a logit."""
    kls: list[Tensor] = []
    worst = 0.0
    for answer in found:
        wanted, values = truth[answer.key][answer.places].double(), answer.values.double()
        worst = max(worst, float(distances(values, wanted).max()))
        p, q = wanted.log_softmax(-1), values.log_softmax(-1)
        kls.append((p.exp() * (p - q)).sum(-1))
    return float(torch.cat(kls).mean()), worst
