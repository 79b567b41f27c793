"""The backend `tvm`: machine code for this CPU."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from graphwright.backends.interface import Backend, BackendOptions, Companions

if TYPE_CHECKING:
    from graphwright.backends.kernel_library import KernelLibrary
    from graphwright.ir.program import Program
    from graphwright.passes.base import Pass
    from graphwright.runtime.artifact import Manifest


class TvmBackend(Backend):
    """A graph for each phase, as one library of kernels that TVM generates."""

    name: ClassVar[str] = "tvm"
    summary: ClassVar[str] = "machine code for this CPU"

    def missing(self) -> str | None:
        from graphwright.backends.tvm.linking import find_linker

        if platform.machine() not in ("x86_64", "AMD64"):
            return f"it writes code for x86-64, this machine is {platform.machine()}: use 'onnx'"
        if find_spec("tvm") is None:
            return "TVM is not installed: in the clone of Graphwright, run `pip install -e '.[tvm]'`"
        if find_linker() is None:
            return "it links with a C compiler, and there is none: install gcc or clang"
        return None

    def multiplies_bf16(self, options: BackendOptions) -> bool:
        from graphwright.backends.tvm.cpu import host_cpu
        from graphwright.ir.notices import notify

        if not host_cpu().has_bf16:
            notify("weights are rounded to bf16, and all is computed in float32: this CPU has no AVX-512 BF16")
            return False
        return True

    def lowering(self, options: BackendOptions, *, decoder: bool) -> Sequence[Pass]:
        from graphwright.passes.lowering.cpu import cpu_lowering
        from graphwright.passes.lowering.decoders import INTERFACE, PHASES

        return (*(PHASES if decoder else INTERFACE), *cpu_lowering(self.library().target))

    def library(self) -> KernelLibrary:
        from graphwright.backends.tvm.library import LIBRARY

        return LIBRARY

    def build(self, program: Program, folder: Path, companions: Companions, options: BackendOptions) -> Manifest:
        from graphwright.backends.tvm.compile import build_artifact

        return build_artifact(program, folder, companions)

    def plan_text(self, program: Program) -> str | None:
        from graphwright.backends.tvm.compile import plan_text

        return plan_text(program)
