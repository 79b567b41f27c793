"""Lowering for a backend, which lowers nothing by itself: passes of the pass manager, then what the backend writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphwright.backends.interface import NO_COMPANIONS, Companions
from graphwright.compiling.targets import backend_options, find_backend
from graphwright.ir.convention import PARAMETERS, is_decoder
from graphwright.passes import run_passes
from graphwright.passes.lowering.decoders import ONE_GRAPH
from graphwright.passes.lowering.ort import HuggingFaceInterface, to_dialect

if TYPE_CHECKING:
    from graphwright.backends.interface import Backend
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
    backend: str | Backend = "onnx",
    *,
    companions: Companions = NO_COMPANIONS,
    observer: Observer | None = None,
    target: str | None = None,
    **options: object,
) -> BuildReport:
    """Lowers a copy of the program for a backend and writes its artifact; see `Backend.build`.

    The `target` is one of the backend's, by default whichever the options are for. The `observer` is shown the
    passes. Raises OptionError for options that the backend does not have.
    """
    chosen = find_backend(backend)
    settings = backend_options(chosen, options)
    if target is not None:
        settings = chosen.for_target(settings, target)
    copy, report = lowered(program, chosen.lowering(settings, decoder=is_decoder(program)), observer)
    return BuildReport(chosen.build(copy, Path(folder), companions, settings), report)


def export_folder(
    program: Program,
    folder: str | Path,
    *,
    layout: str = "plain",
    dialect: str = "ort",
    companions: Companions = NO_COMPANIONS,
    defaults: Mapping[str, Any] | None = None,
) -> Report:
    """Lowers a copy of the program and writes it as ONNX for other runtimes; see `backends.onnx.export.export_folder`.

    `genai` and `optimum` take decoders only and need assets. `defaults` are the options that a decoder generates with.
    """
    from graphwright.backends.assets import GENERATION_FILE
    from graphwright.backends.onnx import export

    export.check_layout(program, layout, companions.assets)
    lowering = to_dialect(dialect)
    copy, report = lowered(program, ONE_GRAPH)
    texts = export.layout_texts(copy, layout, defaults or {})
    if companions.generation is not None and is_decoder(copy):
        texts[GENERATION_FILE] = companions.generation
    interface = () if layout == "plain" else (HuggingFaceInterface(whole=layout == "optimum"),)
    report.records += run_passes(copy, (*interface, *lowering)).records
    export.export_folder(copy, folder, layout=layout, dialect=dialect, texts=texts, assets=companions.assets)
    return report
