"""Lowering for a backend, which lowers nothing by itself: passes of the pass manager, then what the backend writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphwright.ir.convention import PARAMETERS, is_decoder
from graphwright.passes import run_passes
from graphwright.passes.lowering.cpu import cpu_lowering
from graphwright.passes.lowering.decoders import INTERFACE, ONE_GRAPH, PHASES
from graphwright.passes.lowering.ort import HuggingFaceInterface, to_dialect

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.passes import Observer, Pass, Report
    from graphwright.runtime.artifact import Manifest


@dataclass(frozen=True)
class BuildReport:
    """What was written, and what the lowering passes did to get there."""

    manifest: Manifest
    lowering: Report


def lowered(program: Program, passes: Sequence[Pass], observer: Observer | None = None) -> tuple[Program, Report]:
    """A copy of the program after the passes, and what they did. Raises as `run_passes` does."""
    copy = program.clone()
    # Lowering adds weights that the model has not learned: tables of angles, other codes for the same numbers.
    learned = sum(d.constant or 0 for d in (w.type.elements for w in program.weights.values()))
    copy.metadata.setdefault(PARAMETERS, learned)
    return copy, run_passes(copy, passes, observer)


def build_artifact(
    program: Program,
    folder: str | Path,
    *,
    dialect: str = "ort",
    assets: str | Path | None = None,
    generation: str | None = None,
    observer: Observer | None = None,
) -> BuildReport:
    """Lowers a copy of the program for ONNX Runtime and writes its artifact; see `backends.onnx.build_artifact`.

    `dialect` is `ort` (contrib operators of ONNX Runtime) or `portable` (standard operators only). The `observer` is
    shown the passes.
    """
    from graphwright.backends import onnx

    copy, report = lowered(program, (*ONE_GRAPH, *to_dialect(dialect)), observer)
    manifest = onnx.build_artifact(copy, folder, dialect=dialect, assets=assets, generation=generation)
    return BuildReport(manifest, report)


def build_tvm_artifact(
    program: Program,
    folder: str | Path,
    *,
    assets: str | Path | None = None,
    generation: str | None = None,
    observer: Observer | None = None,
) -> BuildReport:
    """Lowers a copy of the program, with a graph for each phase, for the CPU's kernels and writes its artifact.

    See `backends.tvm.build_artifact`. The `observer` is shown the passes.
    """
    from graphwright.backends import tvm
    from graphwright.backends.tvm.library import CPU

    copy, report = lowered(program, (*(PHASES if is_decoder(program) else INTERFACE), *cpu_lowering(CPU)), observer)
    return BuildReport(tvm.build_artifact(copy, folder, assets=assets, generation=generation), report)


PLANNED = "cpu-tvm"
"""The pipeline behind which a program has launch plans."""


def plan_text(program: Program) -> str:
    """The launch plans of a program that the pipeline `cpu-tvm` has lowered, as text; see `backends.tvm.plan_text`."""
    from graphwright.backends import tvm

    return tvm.plan_text(program)


def export_folder(
    program: Program,
    folder: str | Path,
    *,
    layout: str = "plain",
    dialect: str = "ort",
    assets: str | Path | None = None,
    generation: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Report:
    """Lowers a copy of the program and writes it as ONNX for other runtimes; see `backends.onnx.export_folder`.

    `genai` and `optimum` take decoders only and need `assets`. `generation` is what a decoder has for the folder's
    `generation_config.json`, where that is not enough, and `defaults` are the options that it generates with.
    """
    from graphwright.backends.assets import GENERATION_FILE
    from graphwright.backends.onnx import export

    export.check_layout(program, layout, assets)
    lowering = to_dialect(dialect)
    copy, report = lowered(program, ONE_GRAPH)
    texts = export.layout_texts(copy, layout, defaults or {})
    if generation is not None and is_decoder(copy):
        texts[GENERATION_FILE] = generation
    interface = () if layout == "plain" else (HuggingFaceInterface(whole=layout == "optimum"),)
    report.records += run_passes(copy, (*interface, *lowering)).records
    export.export_folder(copy, folder, layout=layout, dialect=dialect, texts=texts, assets=assets)
    return report
