"""The backend `onnx`: programs for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from graphwright.backends.interface import Backend, BackendOptions, Companions, option
from graphwright.ir.errors import UserError

if TYPE_CHECKING:
    from graphwright.ir.program import Program
    from graphwright.passes.base import Pass
    from graphwright.runtime.artifact import Manifest


@dataclass(frozen=True)
class OnnxOptions(BackendOptions):
    """How to write ONNX."""

    dialect: str = option(
        "ort",
        "ort: ONNX Runtime's own operators; portable: standard ONNX only; ort-cuda: those with CUDA kernels, which "
        "--target cuda takes.",
        ("ort", "ort-cuda", "portable"),
    )
    onnxruntime: str = option(
        "",
        "The first release of ONNX Runtime that is to run it; '' is the newest known.",
        ("", "1.31", "1.32"),
    )


class OnnxBackend(Backend):
    """One graph for all phases, as an ONNX model."""

    name: ClassVar[str] = "onnx"
    summary: ClassVar[str] = "for ONNX Runtime"
    targets: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    options: ClassVar[type[BackendOptions]] = OnnxOptions

    def missing(self) -> str | None:
        if find_spec("onnx") is None:
            return "onnx is not installed: in the clone of Graphwright, run `pip install -e '.[compile]'`"
        return None

    def for_target(self, options: BackendOptions, target: str) -> BackendOptions:
        assert isinstance(options, OnnxOptions), "the options of this backend"
        if target != "cuda":
            return options
        if options.dialect == "portable":
            raise UserError("dialect 'portable' is not for the target cuda: leave it out, or give --dialect ort-cuda")
        return replace(options, dialect="ort-cuda")

    def lowering(self, options: BackendOptions, *, decoder: bool) -> Sequence[Pass]:
        from graphwright.passes.lowering.decoders import ONE_GRAPH
        from graphwright.passes.lowering.ort import to_dialect

        assert isinstance(options, OnnxOptions), "the options of this backend"
        return (*ONE_GRAPH, *to_dialect(options.dialect, options.onnxruntime))

    def build(self, program: Program, folder: Path, companions: Companions, options: BackendOptions) -> Manifest:
        from graphwright.backends.onnx.compile import build_artifact

        assert isinstance(options, OnnxOptions), "the options of this backend"
        return build_artifact(program, folder, companions, dialect=options.dialect)
