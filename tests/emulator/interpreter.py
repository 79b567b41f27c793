"""Kernels on tensors of the CPU, interpreted by Triton in a process of its own."""

from __future__ import annotations

import atexit
import pickle
import subprocess
import sys
from functools import cache
from typing import Any

import torch


class KernelError(Exception):
    """A kernel that the interpreter refuses, with its traceback."""


@cache
def _worker() -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.emulator.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    atexit.register(worker.kill)
    return worker


def interpret(body: str, programs: int, **arguments: Any) -> None:
    """Runs the kernel `module:function` as so many programs; tensors among the arguments are changed in place.

    The names are the kernel's parameters, constants included.
    """
    _ask(body, programs, False, arguments)


def interpret_backwards(body: str, programs: int, **arguments: Any) -> None:
    """As `interpret`, the last program first."""
    _ask(body, programs, True, arguments)


def _ask(body: str, programs: int, backwards: bool, arguments: dict[str, Any]) -> None:
    worker = _worker()
    assert worker.stdin is not None
    assert worker.stdout is not None
    pickle.dump((body, programs, backwards, arguments), worker.stdin)
    worker.stdin.flush()
    tensors, problem = pickle.load(worker.stdout)
    if problem is not None:
        raise KernelError(problem)
    for name, changed in tensors.items():
        given = arguments[name]
        assert isinstance(given, torch.Tensor)
        given.copy_(changed)
