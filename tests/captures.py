"""Captures that tests share, in every process and in the next run: to trace is most of what these tests would take.

One is found by its label and by the source of all that could have made another: the product's, the tests', torch's and
transformers'. Tests of what tracing itself does capture anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from graphwright.frontend.kept_captures import capture_once
from graphwright.ir import Program
from graphwright.ir.cache_folder import source_digest


def shared(label: str, make: Callable[[], Program]) -> Program:
    """What `make` captures, of which nothing else has the same label."""
    return capture_once(make, [], (label, source_digest(Path(__file__).parent)))
