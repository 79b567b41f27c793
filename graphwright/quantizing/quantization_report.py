"""What quantization did: sizes before and after each step, the divergence that it costs, and where it was refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.errors import UsageError
from graphwright.evaluating.interpreter_language import FREE_CONTEXT, InterpreterLanguageModel, sample_rows
from graphwright.ir import PassError
from graphwright.ir.convention import BATCH, CAPACITY, PREFILL
from graphwright.ir.types import StateType
from graphwright.runtime.evaluation import score

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.passes import PassRecord
    from graphwright.runtime.token_rows import Ids

MEASURED_ROWS = 4
MEASURED_LENGTH = 128
MEASURED_SEED = 1
"""Apart from the seed of calibration: what a method has seen says little about what it has not."""


@dataclass(frozen=True)
class StepRow:
    """One pass: bytes of all weights before and after it, and the mean KL divergence (nats a token) from the program
    before the first; None for a lossless step, or where nothing was measured."""

    name: str
    lossy: bool
    bytes_before: int
    bytes_after: int
    kl: float | None


@dataclass(frozen=True)
class Refused:
    """Where a step did nothing, and why."""

    step: str
    location: str
    reason: str


@dataclass(frozen=True)
class QuantizationReport:
    """Bytes of weights, and bits of cache that one token takes, before and after; the steps in between."""

    scheme: str
    bytes_before: int
    bytes_after: int
    cache_bits_before: int
    cache_bits_after: int
    steps: tuple[StepRow, ...]
    hits: tuple[int, ...]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...]

    @property
    def kl(self) -> float | None:
        """The divergence after the last step that was measured."""
        return next((step.kl for step in reversed(self.steps) if step.kl is not None), None)

    @classmethod
    def of(
        cls,
        scheme: str,
        before: tuple[int, int],
        after: tuple[int, int],
        steps: Sequence[StepRow],
        records: Sequence[PassRecord],
        notes: Sequence[str],
    ) -> QuantizationReport:
        sizes = (before[0], after[0], before[1], after[1])
        refused = tuple(
            Refused(row.name, miss.location, miss.reason)
            for row, record in zip(steps, records, strict=True)
            for miss in record.near_misses
        )
        hits = tuple(sum(record.hits.values()) for record in records)
        return cls(scheme, *sizes, tuple(steps), hits, refused, tuple(notes))


def weight_bytes(program: Program) -> int:
    """Bytes of all weights as their types store them; each weight is padded to whole bytes."""
    return sum(-(-weight.type.bits.evaluate({}) // 8) for weight in program.weights.values())


def cache_bits(program: Program) -> int:
    """Bits that one token takes in the caches of a program; 0 where it has none."""
    graph = program.graphs.get(PREFILL)
    states = [] if graph is None else [value.type for value in graph.inputs if isinstance(value.type, StateType)]
    one, two = (sum(type.bits.evaluate({BATCH: 1, CAPACITY: places}) for type in states) for places in (1, 2))
    return two - one


class DivergenceMeter:
    """Measures how far a program has gone from what it was, on text that it wrote itself before."""

    def __init__(self, original: InterpreterLanguageModel, rows: Ids) -> None:
        self._original = original
        self._rows = rows
        self.notes = [f"KL: mean over {rows.size} tokens that the model itself wrote, in nats a token"]

    @classmethod
    def of(cls, program: Program, on_stage: Callable[[str], object]) -> DivergenceMeter | Unmeasured:
        """For the program as it is now. Writing the text takes a run of the interpreter for each token."""
        on_stage("write text")
        try:
            original = InterpreterLanguageModel(program.clone())
            length = min(MEASURED_LENGTH, original.context_length or FREE_CONTEXT)
            return cls(original, sample_rows(original, MEASURED_ROWS, length, MEASURED_SEED))
        except (PassError, UsageError) as problem:
            return Unmeasured(str(problem))

    def divergence(self, program: Program, on_stage: Callable[[str], object]) -> float | None:
        on_stage("measure divergence")
        return score(InterpreterLanguageModel(program), self._rows, self._original).kl


class Unmeasured:
    """In the place of a meter where a program writes no text."""

    def __init__(self, reason: str) -> None:
        self.notes = [f"KL is not measured: {reason}"]

    def divergence(self, program: Program, on_stage: Callable[[str], object]) -> float | None:
        return None


__all__ = ["DivergenceMeter", "QuantizationReport", "Refused", "StepRow", "Unmeasured", "cache_bits", "weight_bytes"]
