"""What LLVM is told of a CPU."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.tvm_library import tvm


def llvm_target(cpu: Cpu) -> Any:
    """TVM's target for code that runs on that CPU."""
    return tvm.target.Target({"kind": "llvm", "mcpu": cpu.name})
