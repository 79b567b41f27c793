"""What is known of one architecture: a row of the table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["right", "wrong", "refused", "failed"]
"""right: every figure within its bound. wrong: it compiled, and some figure is not. refused: an error of one line that
says what is not supported. failed: another exception, a crash or a timeout, which is a bug somewhere."""


@dataclass
class Row:
    """Errors are divided by their bound, so up to 1 is right; they are kept by engine and check."""

    architecture: str
    status: Status = "failed"
    stage: str = "model"
    """The stage at which it ended: model, reference, capture, passes, interpreter, build, load, checks or done."""
    reason: str = ""
    seconds: float = 0.0
    operations: dict[str, int] = field(default_factory=dict[str, int])
    recurrent: list[str] = field(default_factory=list[str])
    """Those ops among them that continue a state of fixed size."""
    cache_bytes_per_token: int | None = None
    state_bytes: int | None = None
    errors: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    greedy: dict[str, int] = field(default_factory=dict[str, int])
    """Tokens until the first that differs from eager's, by engine."""
    gain: float = 0.0
    spread: float | None = None
    bound: float = 0.0
    notes: list[str] = field(default_factory=list[str])

    def enter(self, stage: str) -> None:
        """Begins a stage, and says so on standard output, where whoever waits for the process finds it."""
        self.stage = stage
        print(stage, flush=True)

    @property
    def exported(self) -> bool:
        """Whether an artifact was built."""
        return self.stage in ("load", "checks", "done")
