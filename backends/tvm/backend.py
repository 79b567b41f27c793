"""The backend `tvm`: machine code for CPUs."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from graphwright.backends.interface import Backend, BackendOptions, Companions, option
from graphwright.backends.tvm.targets import NATIVE, find_target, known_names, target_names, triple_of
from graphwright.ir.errors import UserError

if TYPE_CHECKING:
    from graphwright.backends.kernel_library import KernelLibrary
    from graphwright.ir.program import Program
    from graphwright.passes.base import Pass
    from graphwright.runtime.artifact import Manifest


@dataclass(frozen=True)
class TvmOptions(BackendOptions):
    cpus: str = option(NATIVE, f"CPUs to compile for, joined by commas: {', '.join(known_names())}.")

    def __post_init__(self) -> None:
        target_names(self.cpus)


class TvmBackend(Backend):
    """A graph for each phase, as one library of kernels that TVM generates."""

    name: ClassVar[str] = "tvm"
    summary: ClassVar[str] = "machine code for this CPU, or for those that are named"
    options: ClassVar[type[BackendOptions]] = TvmOptions
    machines: ClassVar[str] = "cpus"

    def missing(self) -> str | None:
        from graphwright.backends.tvm.linking import X86_64, find_linker

        if platform.machine() not in X86_64:
            return f"it writes code for x86-64, this machine is {platform.machine()}: use 'onnx'"
        if find_spec("tvm") is None:
            return "TVM is not installed: in the clone of Graphwright, run `pip install -e '.[tvm]'`"
        if find_linker() is None:
            return "it links with a C compiler, and there is none: install gcc or clang"
        return None

    def for_target(self, options: BackendOptions, target: str) -> BackendOptions:
        from graphwright.backends.tvm.linking import missing_linker

        assert isinstance(options, TvmOptions), "the options of this backend"
        for name in target_names(options.cpus):
            problem = missing_linker(triple_of(name))
            if problem is not None:
                raise UserError(f"nothing can be linked for {name}: {problem}")
        return options

    def multiplies_bf16(self, options: BackendOptions) -> bool:
        from graphwright.ir.notices import notify

        assert isinstance(options, TvmOptions), "the options of this backend"
        lacking = [name for name in target_names(options.cpus) if not find_target(name).cpu.has_bf16]
        if lacking:
            where = " and ".join("this CPU" if name == NATIVE else name for name in lacking)
            notify(f"weights are rounded to bf16, and all is computed in float32: {where} has no AVX-512 BF16")
        return not lacking

    def lowering(self, options: BackendOptions, *, decoder: bool) -> Sequence[Pass]:
        from graphwright.passes.lowering.cpu import cpu_lowering
        from graphwright.passes.lowering.decoders import INTERFACE, PHASES

        return (*(PHASES if decoder else INTERFACE), *cpu_lowering(self.library().target))

    def library(self) -> KernelLibrary:
        from graphwright.backends.tvm.library import LIBRARY

        return LIBRARY

    def build(self, program: Program, folder: Path, companions: Companions, options: BackendOptions) -> Manifest:
        from graphwright.backends.tvm.compile import build_artifact

        assert isinstance(options, TvmOptions), "the options of this backend"
        targets = [find_target(name) for name in target_names(options.cpus)]
        return build_artifact(program, folder, companions, targets=targets)

    def plan_text(self, program: Program) -> str | None:
        from graphwright.backends.tvm.compile import plan_text

        return plan_text(program)
