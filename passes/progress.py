"""How far a pass is that takes long: it tells, and whoever runs it may listen."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[int, int], object]
"""Called with how many steps are done, and of how many."""

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Listener | None) -> Generator[None]:
    """What is told meanwhile goes to the listener; to nobody if it is None."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(done: int, total: int) -> None:
    """Says that so many steps are done."""
    listener = _listener.get()
    if listener is not None:
        listener(done, total)
