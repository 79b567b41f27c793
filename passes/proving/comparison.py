"""Compares a program's answers with the reference ones, in float64 and in the types that it declares."""

from __future__ import annotations

from dataclasses import dataclass

from graphwright.ir import Interpreter, Program
from graphwright.passes.proving.answers import Trial
from graphwright.passes.proving.error_bounds import FACTOR, Deviation, ErrorBounds
from graphwright.passes.proving.float64_interpreter import Float64Interpreter


@dataclass
class Comparison:
    """The inputs, the reference answers with their bounds, and the least rounding that a program of the pipeline has
    shown so far: the median error of its answers, and how many of them overflow."""

    trial: Trial
    bounds: ErrorBounds
    rounding: float
    overflows: int

    @classmethod
    def of(cls, trial: Trial, program: Program, float64: Float64Interpreter) -> Comparison:
        """Takes a program's answers as the reference."""
        bounds = ErrorBounds.of(trial, program, float64)
        return cls(trial, bounds, *bounds.rounding(trial.answers(program, Interpreter())))

    def deviation(self, program: Program, float64: Float64Interpreter) -> Deviation:
        """The first answer that leaves its bound in float64, else the one that comes nearest to it."""
        return self.bounds.worst(self.trial.answers(program, float64))

    def excess_rounding(self, program: Program) -> str | None:
        """What is wrong with the rounding of a program in its declared types, in words, if it is more than before.

        What is allowed is a multiple of the least seen before, or of what float32 explains where that is more.
        """
        rounding, overflows = self.bounds.rounding(self.trial.answers(program, Interpreter()))
        if overflows > self.overflows:
            return f"in its own types {overflows} of them overflow, {self.overflows} did before"
        allowed = FACTOR * max(self.rounding, self.bounds.float32_rounding)
        if rounding > allowed:
            return f"in its own types they are off by {rounding:.3g}, {allowed:.3g} is allowed"
        self.rounding, self.overflows = min(self.rounding, rounding), overflows
        return None

    def unexplained_rounding(self, written: float = 0.0) -> str | None:
        """What is wrong with the rounding of the program that is taken for right, which should compute in float32 or
        wider; None if sums in float32 explain it, or roundings that were `written`, which moved answers so far."""
        allowed = FACTOR * max(self.bounds.float32_sums, self.bounds.float32_rounding, written)
        if self.rounding <= allowed:
            return None
        return f"in its own types they are off by {self.rounding:.3g}, {allowed:.3g} is allowed"
