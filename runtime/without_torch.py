"""Importing a package as if torch were not installed."""

import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType

TORCH = "torch"


@contextmanager
def without_torch() -> Generator[None]:
    """While the body runs, this thread finds no torch, unless it is imported already; other threads do.

    For packages that import torch, which takes seconds, only because it is there.
    """
    finder = _NoTorch(threading.get_ident())
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _NoTorch(MetaPathFinder):
    def __init__(self, thread: int) -> None:
        self._thread = thread

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == TORCH and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"no {TORCH} is imported here", name=TORCH)
