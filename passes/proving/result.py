"""What the proof of a pass says, and how it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from graphwright.ir import PassError, Program

if TYPE_CHECKING:
    from graphwright.passes.base import Pass


@dataclass(frozen=True)
class Proof:
    """How a program after a pass compares with what it was.

    `exact`: its text is unchanged. `proven`: `error`, the largest absolute error of an output in float64, is within
    `bound`, what rounding explains there. `measured`: the pass is lossy; `kl` is the mean KL divergence from the
    program before (nats a token), `logit_error` the largest absolute error of a logit.
    """

    status: Literal["exact", "proven", "measured"]
    error: float | None = None
    bound: float | None = None
    kl: float | None = None
    logit_error: float | None = None
    seconds: float = 0.0


class ProofError(PassError):
    """A pass changed the program's answers by more than rounding.

    `each` is the pass as the command line spells it; `op` and `location` name the first op whose value departs and the
    module it stands in, both empty where it cannot be told. `program` is the one before the pass, to see it happen.
    """

    def __init__(
        self, message: str, each: str, op: str = "", location: str = "", program: Program | None = None
    ) -> None:
        super().__init__(message)
        self.each = each
        self.op = op
        self.location = location
        self.program = program


class Prover(Protocol):
    """Judges a program after each pass of a run. `notes` says in words what the proof leaves out."""

    @property
    def notes(self) -> Sequence[str]: ...

    def begin(self, program: Program) -> None:
        """Takes the program before the first pass as what is right."""
        ...

    def check(self, each: Pass, program: Program) -> Proof:
        """Judges the program after a pass; raises `ProofError` if its answers are others."""
        ...
