"""As many threads as help: for ops on a few thousand numbers more than one would only wait for each other."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from graphwright.ir.lazy import torch

SMALL = 1e9
"""FLOPs of a row below which the interpreter's ops are too small to be shared out."""


@contextmanager
def threads_for(flops: float) -> Generator[None]:
    """One thread for small work, torch's own number for large."""
    before = torch.get_num_threads()
    if flops < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
