"""Holds a program's answers against the truth, in float64 and in the types that it declares."""

from __future__ import annotations

from dataclasses import dataclass

from graphwright.ir import DType, Interpreter, Program
from graphwright.passes.proving.answers import Trial
from graphwright.passes.proving.meaning import Meaning
from graphwright.passes.proving.ruler import FACTOR, Departure, Ruler


@dataclass
class Judge:
    """What is asked, what is right, and the least rounding that a program of the pipeline has shown so far."""

    trial: Trial
    ruler: Ruler
    rounding: float

    @classmethod
    def of(cls, trial: Trial, program: Program, meaning: Meaning) -> Judge:
        """Takes a program for right."""
        ruler = Ruler.of(trial, program, meaning)
        return cls(trial, ruler, ruler.rounding(trial.answers(program, Interpreter())))

    def departure(self, program: Program, meaning: Meaning) -> Departure:
        """The first answer that leaves its bound in float64, else the one that comes nearest to it."""
        return self.ruler.worst(self.trial.answers(program, meaning))

    def excess(self, program: Program, promised: DType | None) -> tuple[float, float] | None:
        """The rounding of a program in its declared types and what it may be, if it is more.

        What is allowed is a multiple of the least seen before, or of what float32 explains where that is more. A pass
        that promises a wider type than the program's is held to it: to what sums in float32 explain, at least.
        """
        rounding = self.ruler.rounding(self.trial.answers(program, Interpreter()))
        before = min(self.rounding, self.ruler.float32_sums) if promised is not None else self.rounding
        allowed = FACTOR * max(before, self.ruler.float32_rounding)
        if rounding > allowed:
            return rounding, allowed
        self.rounding = min(self.rounding, rounding)
        return None
