"""Notices that need no action by the user: warnings, printed as `note: …` on the command line."""

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_given: ContextVar[list[str] | None] = ContextVar("given", default=None)


class Notice(UserWarning):
    """Something of a model was left out, chosen or replaced; the message is one line that says what, where and why."""


def notify(message: str) -> None:
    """Tell the user of something that stops nothing, as a warning of the class `Notice` from the caller's place."""
    line = " ".join(message.split())
    if (given := _given.get()) is not None:
        given.append(line)
    warnings.warn(line, Notice, stacklevel=2)


@contextmanager
def noting_notices() -> Generator[list[str]]:
    """The messages of the notices that are given while this lasts."""
    given: list[str] = []
    token = _given.set(given)
    try:
        yield given
    finally:
        _given.reset(token)
        if (outer := _given.get()) is not None:
            outer += given
