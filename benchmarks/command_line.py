"""What commands of several benchmarks share: names that a user chooses from, and mistakes as one line."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import typer
from rich.console import Console

from benchmarks.peers.process import BenchmarkError
from graphwright.errors import is_user_error

Choice = TypeVar("Choice")


@contextmanager
def errors_as_a_line() -> Generator[None]:
    """What a user can mend is one line on stderr, and ends the process with status 2."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, BenchmarkError) and not is_user_error(error):
            raise
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


def chosen(names: str, known: Mapping[str, Choice], kind: str) -> list[Choice]:
    """What the comma-separated names stand for. Raises BenchmarkError for one that is not known, or named twice."""
    each = [name.strip() for name in names.split(",")]
    for name in each:
        if name not in known:
            raise BenchmarkError(f"no {kind} is called {name!r}; choose from {', '.join(known)}")
    if len(set(each)) < len(each):
        raise BenchmarkError(f"each {kind} can be named once, not {names!r}")
    return [known[name] for name in each]
