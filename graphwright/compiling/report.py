"""What a compilation did: its stages, its passes, and where the result lies."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphwright.passes import Report
    from graphwright.quantizing.quantization_report import QuantizationReport
    from graphwright.runtime import Manifest


@dataclass(frozen=True)
class Stage:
    """One stage of a compilation and the seconds that it took."""

    name: str
    seconds: float


@dataclass(frozen=True)
class CompilationReport:
    """The stages in order, the passes' own report (None when none ran), and the artifact's manifest and folder.

    `quantization` is what quantizing did, None where nothing was quantized.
    """

    stages: tuple[Stage, ...]
    passes: Report | None
    manifest: Manifest
    folder: Path
    quantization: QuantizationReport | None = None

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)


class Stopwatch:
    """Times stages one after another and announces each to `on_stage` when it begins."""

    def __init__(self, on_stage: Callable[[str], object] | None = None) -> None:
        self.stages: list[Stage] = []
        self._on_stage = on_stage

    def announce(self, name: str) -> None:
        """Says what begins, without timing it."""
        if self._on_stage is not None:
            self._on_stage(name)

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        self.announce(name)
        start = time.perf_counter()
        yield
        self.stages.append(Stage(name, time.perf_counter() - start))
