"""The textual difference that a pass made."""

from __future__ import annotations

import difflib


def difference(before: str, after: str) -> str:
    """A unified diff of two programs' texts, without file names; empty if they are equal."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=2))
    return "\n".join(lines[2:])
