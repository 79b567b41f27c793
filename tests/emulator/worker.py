"""A process that interprets Triton kernels: Triton decides when it is imported whether it compiles or interprets.

Reads pickled requests from stdin and answers each on stdout; `tests.emulator.interpreter` is the other end.
"""

from __future__ import annotations

import os
import traceback
from importlib import import_module
from typing import Any

from graphwright.backends.cuda.request_loop import answer_requests
from graphwright.emulating.quick import interpret_from_now_on

Request = tuple[str, int, bool, dict[str, Any]]


def run(request: Request) -> tuple[dict[str, Any], str | None]:
    """Runs a kernel and gives back its tensors, changed as it changed them, and a traceback where it failed."""
    body, programs, backwards, arguments = request
    module, _, name = body.partition(":")
    builder: Any = import_module("triton.runtime.interpreter").interpreter_builder
    place = builder.set_grid_idx

    def from_the_end(x: int, y: int, z: int) -> None:
        place(programs - 1 - x, y, z)

    if backwards:
        builder.set_grid_idx = from_the_end
    try:
        getattr(import_module(module), name)[(programs,)](**arguments)
    except Exception:
        return {}, traceback.format_exc()
    finally:
        builder.set_grid_idx = place
    return {name: value for name, value in arguments.items() if hasattr(value, "data_ptr")}, None


if __name__ == "__main__":
    os.environ["TRITON_INTERPRET"] = "1"
    interpret_from_now_on()
    answer_requests(run)
