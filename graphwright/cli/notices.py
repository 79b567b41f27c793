"""Notices on the command line: one line each on standard error, in place of what Python prints of a warning."""

import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import TextIO

from graphwright.runtime.printable import printable_line

_HOMES = ("graphwright.ir.notices", "graphwright.runtime.notices")
"""Compiler and runtime are separate installations, and each has a class of its own."""


@contextmanager
def notices_as_lines() -> Generator[None]:
    """While this lasts, each notice is printed once as `note: …`, whatever filters say; other warnings stay."""
    printed: set[str] = set()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_line(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not _is_notice(category):
                show(message, category, filename, lineno, file, line)
            elif str(message) not in printed:
                printed.add(str(message))
                print(f"note: {printable_line(str(message))}", file=sys.stderr)

        # By the place that they come from: to import the classes would cost the commands that need neither.
        warnings.filterwarnings("always", category=UserWarning, module=r"graphwright\.")
        warnings.showwarning = show_line
        yield


def _is_notice(category: type[Warning]) -> bool:
    homes = (sys.modules[name] for name in _HOMES if name in sys.modules)
    return any(issubclass(category, home.Notice) for home in homes)
