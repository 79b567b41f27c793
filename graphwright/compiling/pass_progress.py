"""Announces passes one by one, for whoever shows progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.passes import Observer, Pass


class PassProgress:
    """An observer of passes that calls `on_stage` with `STAGE: PASS` before each, and shows them to another.

    A pass that takes long is announced again at each of its steps: `STAGE: PASS, 3 of 97`.
    """

    def __init__(
        self, on_stage: Callable[[str], object], observer: Observer | None = None, stage: str = "optimize"
    ) -> None:
        self._on_stage, self._observer, self._stage = on_stage, observer, stage

    def before(self, each: Pass, program: Program) -> None:
        self._on_stage(f"{self._stage}: {each}")
        if self._observer is not None:
            self._observer.before(each, program)

    def during(self, each: Pass, done: int, total: int) -> None:
        self._on_stage(f"{self._stage}: {each}, {done + 1} of {total}")
        if self._observer is not None:
            self._observer.during(each, done, total)

    def after(self, each: Pass, program: Program) -> None:
        if self._observer is not None:
            self._observer.after(each, program)
