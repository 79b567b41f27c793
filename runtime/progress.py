"""What is loaded tells how far it is, to whoever wants to show it."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

Show = Callable[[str, int, int], object]
"""Takes what is being done, as "loading weights", how many bytes of it are done, and of how many."""

_shown: ContextVar[Show | None] = ContextVar("shown", default=None)


def tell(what: str, done: int, total: int) -> None:
    """Say how far it is, in bytes."""
    if (show := _shown.get()) is not None:
        show(what, done, total)


@contextmanager
def loading_shown(show: Show) -> Generator[None]:
    """What is loaded inside, in this context, is told to `show`."""
    token = _shown.set(show)
    try:
        yield
    finally:
        _shown.reset(token)
