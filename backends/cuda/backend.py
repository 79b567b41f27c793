"""The backend `cuda`: machine code for NVIDIA GPUs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from graphwright.backends.cuda.gpu import GPUS, find_gpus
from graphwright.backends.interface import Backend, BackendOptions, Companions, option
from graphwright.ir.convention import DECODE_ROWS
from graphwright.ir.errors import UserError

if TYPE_CHECKING:
    from graphwright.backends.kernel_library import KernelLibrary
    from graphwright.ir.program import Program
    from graphwright.passes.base import Pass
    from graphwright.runtime.artifact import Manifest


LEAST_TRITON = (3, 9)


@dataclass(frozen=True)
class CudaOptions(BackendOptions):
    architectures: str = option(
        "sm_90", f"GPUs to compile for, joined by commas: {', '.join(GPUS)}; emulated: the emulator alone."
    )

    batch_rows: int = option(
        16, "Batches of up to so many rows have kernels of their own for a token of each: 1, 2, 4, 8 or 16."
    )
    verify_tokens: int = option(0, "Tokens of a row that are verified at once have kernels of their own; 0: none.")

    def __post_init__(self) -> None:
        find_gpus(self.architectures)
        known = 1, *dict(DECODE_ROWS)
        if self.batch_rows not in known:
            raise UserError(f"batch_rows is {self.batch_rows}; it must be one of {', '.join(map(str, known))}")
        if self.verify_tokens < 0 or self.verify_tokens == 1:
            raise UserError(f"verify_tokens is {self.verify_tokens}; it must be at least 2, or 0")


class CudaBackend(Backend):
    """A graph for each phase, as launches of kernels that Triton compiles ahead."""

    name: ClassVar[str] = "cuda"
    summary: ClassVar[str] = "machine code for NVIDIA GPUs"
    targets: ClassVar[tuple[str, ...]] = ("cuda",)
    options: ClassVar[type[BackendOptions]] = CudaOptions
    machines: ClassVar[str] = "architectures"

    def missing(self) -> str | None:
        install = "in the clone of Graphwright, run `pip install -e '.[cuda-compile]'`"
        if find_spec("triton") is None:
            return f"Triton is not installed: {install}"
        found, least = version("triton"), ".".join(map(str, LEAST_TRITON))
        if tuple(int(number) for number in re.findall(r"\d+", found)[:2]) < LEAST_TRITON:
            return f"Triton {found} is installed, {least} or a later one is needed: {install}"
        return None

    def lowering(self, options: BackendOptions, *, decoder: bool) -> Sequence[Pass]:
        from graphwright.passes.lowering.cuda import cuda_lowering
        from graphwright.passes.lowering.decoders import INTERFACE, phases_of

        assert isinstance(options, CudaOptions), "the options of this backend"
        phases = phases_of(0 if options.batch_rows == 1 else options.batch_rows, options.verify_tokens)
        return (*(phases if decoder else INTERFACE), *cuda_lowering(self.library().target))

    def library(self) -> KernelLibrary:
        from graphwright.backends.cuda.library import LIBRARY

        return LIBRARY

    def build(self, program: Program, folder: Path, companions: Companions, options: BackendOptions) -> Manifest:
        from graphwright.backends.cuda.compile import build_artifact

        assert isinstance(options, CudaOptions), "the options of this backend"
        return build_artifact(program, folder, companions, find_gpus(options.architectures))

    def plan_text(self, program: Program) -> str:
        from graphwright.backends.cuda.lower import plan_graphs
        from graphwright.backends.plan import print_plans

        return print_plans(plan_graphs([*program.graphs.values()], GPUS["sm_90"]).plans.values())
