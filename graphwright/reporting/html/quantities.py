"""Numbers as a reader of the page sees them: three digits and a unit."""

import math
import re

_DECIMAL = ("", "k", "M", "G", "T", "P", "E")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SECONDS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))

NOTHING = "\u2013"
"""Stands where there is no number."""

FASTER, SLOWER = "faster", "slower"


def bytes_text(size: float | None) -> str:
    """`512 B`, `1.50 MiB`."""
    if size is None:
        return NOTHING
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_BINARY) - 1:
        value, unit = value / 1024, unit + 1
    return f"{int(value) if unit == 0 else digits(value)} {_BINARY[unit]}"


def seconds_text(seconds: float | None) -> str:
    """`4.10 ms`."""
    if seconds is None:
        return NOTHING
    if seconds == 0:
        return "0 s"
    name, unit = next((each for each in _SECONDS if seconds >= 0.9995 * each[1]), _SECONDS[-1])
    return f"{digits(seconds / unit)} {name}"


def rate_text(value: float, unit: str) -> str:
    """A rate in decimal units, as datasheets give it: `3.35 TB/s` for 3.35e12 and `B/s`."""
    step = 0
    while value >= 999.5 and step < len(_DECIMAL) - 1:
        value, step = value / 1000, step + 1
    return f"{digits(value)} {_DECIMAL[step]}{unit}"


def count_text(count: int | None) -> str:
    """`12 345`, with narrow spaces."""
    return NOTHING if count is None else f"{count:,}".replace(",", "\u202f")


def error_text(error: float | None) -> str:
    """`3.1e-7`."""
    if error is None:
        return NOTHING
    if error == 0 or not math.isfinite(error):
        return f"{error:g}"
    mantissa, exponent = f"{error:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    exponent = int(f"{value:.2e}".split("e")[1])
    return f"{value:.{max(0, 2 - exponent)}f}"


def short(text: str) -> str:
    """A number of this file without the zeros that say nothing on an axis: `1 MiB` for `1.00 MiB`."""
    return re.sub(r"(\.\d*?)0+(?= |$)", lambda found: found[1].rstrip("."), text)


def change_text(before: float | None, after: float | None, less: str = "less", more: str = "more") -> str:
    """How `after` compares with `before`: `3.00 times less`, `12 % more`; empty where one is missing or nothing."""
    if before is None or after is None or min(before, after) <= 0:
        return ""
    ratio = after / before
    factor, word = (ratio, more) if ratio > 1 else (1 / ratio, less)
    if factor < 1.005:
        return "unchanged"
    # Of times, "40 % faster" says one thing to some readers and another to others.
    if factor >= 2 or word in (FASTER, SLOWER):
        return f"{digits(factor)}\u00d7 {word}"
    return f"{abs(ratio - 1) * 100:.0f}\u202f% {word}"
