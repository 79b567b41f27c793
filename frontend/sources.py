"""Lines of the user's code: which line a traced operator came from, and which fixed a size while it was traced."""

import os
import re
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

_LIBRARIES = tuple(str(Path(file).parent) + os.sep for file in (torch.__file__, __file__) if file)
_LINE = re.compile(r'File "([^"]+)", line (\d+)')


def is_library(file: str) -> bool:
    """Whether a file is torch's or this package's, not the user's."""
    return file.startswith((*_LIBRARIES, "<"))


def shown(file: str, line: int | None) -> str:
    """`file:line`, the file relative to the working directory where it is inside."""
    path = Path(file)
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{line}"


def own_frame(problem: BaseException) -> str:
    """`file:line` of the user's code if that raised an error itself; empty if other code did."""
    frames = traceback.extract_tb(problem.__traceback__)
    return shown(frames[-1].filename, frames[-1].lineno) if frames and not is_library(frames[-1].filename) else ""


def last_line(problem: BaseException) -> str:
    """`file:line` of the innermost of the user's code on the way to an error; empty if there is none."""
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if not is_library(f.filename)]
    return shown(frames[-1].filename, frames[-1].lineno) if frames else ""


def line_of(stack_trace: object) -> str:
    """`file:line` of the innermost of the user's code in a stack that torch wrote down."""
    found = _LINE.findall(stack_trace) if isinstance(stack_trace, str) else []
    own = [(file, int(line)) for file, line in found if not is_library(file)]
    return shown(*own[-1]) if own else ""


@dataclass
class FixedSizes:
    """The lines at which torch found out that a size can only be one number, or that of another, by these."""

    lines: dict[str, str] = field(default_factory=dict[str, str])

    def line(self, size: object) -> str:
        return self.lines.get(str(size), "")


@contextmanager
def watched_sizes() -> Generator[FixedSizes]:
    """While this lasts the lines that fix sizes are written down. Without torch's hook for it there are none."""
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    found = FixedSizes()
    environment: Any = ShapeEnv
    replace: Any = getattr(environment, "_set_replacement", None)
    if replace is None:
        yield found
        return

    def noted(self: Any, symbol: Any, value: Any, *rest: Any) -> Any:
        line = _calling_line(sys._getframe(1))
        if line:
            found.lines.setdefault(str(value), line)
        return replace(self, symbol, value, *rest)

    environment._set_replacement = noted
    try:
        yield found
    finally:
        environment._set_replacement = replace


def _calling_line(frame: FrameType | None) -> str:
    while frame is not None:
        if not is_library(frame.f_code.co_filename):
            return shown(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return ""
