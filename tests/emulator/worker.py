"""A process that interprets Triton kernels: Triton decides when it is imported whether it compiles or interprets.

Reads pickled requests from stdin and answers each on stdout; `tests.emulator.interpreter` is the other end.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from importlib import import_module
from typing import Any

from graphwright.emulating.quick import interpret_from_now_on


def run(body: str, programs: int, arguments: dict[str, Any]) -> dict[str, Any]:
    """Runs a kernel and gives back its tensors, changed as it changed them."""
    module, _, name = body.partition(":")
    kernel = getattr(import_module(module), name)
    kernel[(programs,)](**arguments)
    return {name: value for name, value in arguments.items() if hasattr(value, "data_ptr")}


def main() -> None:
    os.environ["TRITON_INTERPRET"] = "1"
    interpret_from_now_on()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what kernels print is no answer
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        answer: tuple[dict[str, Any], str | None]
        try:
            answer = run(*request), None
        except Exception:
            answer = {}, traceback.format_exc()
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
