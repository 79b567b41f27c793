"""What a user pipes in, read whole."""

import sys

from graphwright.errors import UsageError


def standard_input() -> str:
    """The text on standard input. Raises UsageError where it is closed, or no UTF-8."""
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - None when it was closed
        raise UsageError("standard input is closed")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise UsageError("standard input is not UTF-8 text") from None
