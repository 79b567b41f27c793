"""Numbers as texts."""

import math

import pytest

from graphwright.reporting.html.quantities import (
    bytes_text,
    change_text,
    count_text,
    digits,
    error_text,
    rate_text,
    seconds_text,
)
from graphwright.reporting.html.quantities import short as short_text


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, "\u2013"), (0, "0 B"), (999, "999 B"), (1000, "0.977 KiB"), (1536, "1.50 KiB"), (2**40 * 15, "15.0 TiB")],
)
def test_bytes(size: int | None, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "\u2013"),
        (0.0, "0 s"),
        (5e-10, "0.500 ns"),
        (1.5e-6, "1.50 µs"),
        (9.999e-4, "1.00 ms"),
        (0.99996, "1.00 s"),
        (1234.5, "1234 s"),
        (math.inf, "inf s"),
        (math.nan, "nan ns"),
    ],
)
def test_seconds(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text


def test_rates() -> None:
    assert rate_text(3.35e12, "B/s") == "3.35 TB/s"
    assert rate_text(999.6, "") == "1.00 k"
    assert rate_text(0, "FLOP/s") == "0 FLOP/s"


def test_counts_and_errors() -> None:
    assert count_text(1234567) == "1\u202f234\u202f567"
    assert count_text(None) == error_text(None) == "\u2013"
    assert error_text(3.14e-7) == "3.1e-7"
    assert error_text(0.0) == "0"
    assert error_text(math.inf) == "inf"


@pytest.mark.parametrize(("value", "text"), [(0.9996, "1.00"), (0.00123, "0.00123"), (99.96, "100"), (1e6, "1000000")])
def test_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_short() -> None:
    assert [short_text(t) for t in ("1.00 MiB", "1.50 MiB", "100 G", "0.250 s")] == [
        "1 MiB",
        "1.5 MiB",
        "100 G",
        "0.25 s",
    ]


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (None, 1, ""),
        (0, 1, ""),
        (100, 100, "unchanged"),
        (100, 62, "38\u202f% less"),
        (100, 135, "35\u202f% more"),
        (300, 100, "3.00\u00d7 less"),
        (100, 400, "4.00\u00d7 more"),
    ],
)
def test_changes(before: float | None, after: float | None, text: str) -> None:
    assert change_text(before, after) == text
    assert change_text(3.0, 2.0, "faster", "slower") == "1.50\u00d7 faster"
