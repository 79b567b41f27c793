"""What a long piece of work says of how far it is, to whoever shows it: work that is asked for by an interface."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

_shown: ContextVar[Callable[[str], object] | None] = ContextVar("shown", default=None)


def announce(stage: str) -> None:
    """Say what is being done, in a few words, as `compile kernels: 3 of 97`."""
    if (show := _shown.get()) is not None:
        show(stage)


@contextmanager
def announcing(show: Callable[[str], object]) -> Generator[None]:
    """What is announced while this lasts goes to `show`."""
    token = _shown.set(show)
    try:
        yield
    finally:
        _shown.reset(token)
