"""From data to places on a plot, and where to write numbers along its axes."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LogScale:
    """Whole decades, 10**low to 10**high, over the places start to end."""

    low: int
    high: int
    start: float
    end: float

    @classmethod
    def around(cls, values: list[float], start: float, end: float) -> LogScale:
        """The decades that hold the positive `values`, two at least."""
        low = math.floor(math.log10(min(values)) + 1e-9)
        high = max(math.ceil(math.log10(max(values)) - 1e-9), low + 2)
        return cls(low, high, start, end)

    def place(self, value: float) -> float:
        return self.start + (math.log10(value) - self.low) * self.decade

    @property
    def decade(self) -> float:
        """The signed distance of one decade."""
        return (self.end - self.start) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        """Decades, every one or every so many that at most ten are named."""
        step = math.ceil((self.high - self.low) / 10)
        return [10.0**exponent for exponent in range(self.low, self.high + 1, step)]


@dataclass(frozen=True)
class LinearScale:
    """0 to `high` over the places start to end, with a tick at every multiple of `step`."""

    high: float
    step: float
    start: float
    end: float

    @classmethod
    def upto(cls, high: float, start: float, end: float, *, open_end: bool) -> LinearScale:
        """To `high`, or to the tick after it for `open_end`. Ticks are powers of two: bytes and tokens come in them."""
        step = 2.0 ** max(0, math.ceil(math.log2(max(high, 1.0) / 6)))
        return cls(max(1, math.ceil(high / step)) * step if open_end else high, step, start, end)

    def place(self, value: float) -> float:
        return self.start + value / self.high * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        return [i * self.step for i in range(int(self.high / self.step) + 1)]
