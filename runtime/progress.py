"""What is loaded tells how far it is, to whoever wants to show it."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

Show = Callable[[int, int], object]
"""Takes how many bytes are done, and of how many."""

_shown: ContextVar[Show | None] = ContextVar("shown", default=None)


def loaded(done: int, total: int) -> None:
    """Say how many bytes of weights are where they are used."""
    if (show := _shown.get()) is not None:
        show(done, total)


@contextmanager
def loading_shown(show: Show) -> Generator[None]:
    """What is loaded inside, by this thread, is told to `show`."""
    token = _shown.set(show)
    try:
        yield
    finally:
        _shown.reset(token)
