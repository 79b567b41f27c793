"""The backend `onnx`: programs for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from graphwright.backends.interface import Backend, BackendOptions, Companions, option

if TYPE_CHECKING:
    from graphwright.ir.program import Program
    from graphwright.passes.base import Pass
    from graphwright.runtime.artifact import Manifest


@dataclass(frozen=True)
class OnnxOptions(BackendOptions):
    """How to write ONNX."""

    dialect: str = option(
        "ort", "ort: ONNX Runtime's own operators; portable: standard ONNX only.", ("ort", "portable")
    )


class OnnxBackend(Backend):
    """One graph for all phases, as an ONNX model."""

    name: ClassVar[str] = "onnx"
    summary: ClassVar[str] = "for ONNX Runtime"
    options: ClassVar[type[BackendOptions]] = OnnxOptions

    def missing(self) -> str | None:
        if find_spec("onnx") is None:
            return "onnx is not installed: in the clone of Graphwright, run `pip install -e '.[compile]'`"
        return None

    def lowering(self, options: BackendOptions, *, decoder: bool) -> Sequence[Pass]:
        from graphwright.passes.lowering.decoders import ONE_GRAPH
        from graphwright.passes.lowering.ort import to_dialect

        return (*ONE_GRAPH, *to_dialect(cast(OnnxOptions, options).dialect))

    def build(self, program: Program, folder: Path, companions: Companions, options: BackendOptions) -> Manifest:
        from graphwright.backends.onnx.compile import build_artifact

        return build_artifact(program, folder, companions, dialect=cast(OnnxOptions, options).dialect)
