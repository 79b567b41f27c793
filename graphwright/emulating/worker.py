"""A process that interprets Triton kernels, and calls those that TVM wrote, over the memory of the emulated device.

It is one of its own as Triton decides when it is imported whether it compiles or interprets.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import traceback
from importlib import import_module
from typing import Any

import torch

from graphwright.backends.cuda.request_loop import answer_requests
from graphwright.emulating.accesses import WrongAccess, watched
from graphwright.emulating.interpreter import Request
from graphwright.emulating.native import call
from graphwright.emulating.quick import interpret_from_now_on

DTYPES = {
    "*fp16": torch.float16,
    "*bf16": torch.bfloat16,
    "*fp32": torch.float32,
    "*i64": torch.int64,
    "*i32": torch.int32,
    "*i8": torch.int8,
    "*u8": torch.uint8,
    "*i1": torch.bool,
}
EARLY = "PDL"
"""The constant by which a kernel of an early start waits for those before it: it is interpreted as one."""


def run(base: int, request: Request) -> None:
    """Runs a kernel. Raises `WrongAccess` where it touches what it must not."""
    if request.constants is None:
        library, _, symbol = request.body.rpartition(":")
        call(library, symbol, base, request)
        return
    given: dict[str, Any] = dict(request.constants)
    for argument in request.arguments:
        if argument.kind in DTYPES:
            # As long as any type: a kernel takes the address alone.
            room = (ctypes.c_char * 16).from_address(base + argument.value)
            given[argument.name] = torch.frombuffer(room, dtype=DTYPES[argument.kind])
        else:
            given[argument.name] = argument.value
    module, _, function = request.body.partition(":")
    if EARLY in given:
        given[EARLY] = True
    with watched(base, request.arguments, request.written, waits=EARLY in given, first=request.first):
        getattr(import_module(module), function)[(request.programs,)](**given)


def problem_of(base: int, request: Request) -> str | None:
    """Runs a kernel; gives what is wrong with it, in a line."""
    try:
        run(base, request)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, WrongAccess):
            cause = cause.__cause__
        if cause is not None:
            return str(cause)
        traceback.print_exc()
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def main() -> None:
    interpret_from_now_on()
    memory = mmap.mmap(int(sys.argv[1]), int(sys.argv[2]))
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    answer_requests(lambda request: problem_of(base, request))


if __name__ == "__main__":
    main()
