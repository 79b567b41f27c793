"""From a model to the report of a run of passes: captured, optimized, priced; proven and measured on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from graphwright.compiling.compiler import Options, build, capture
from graphwright.compiling.requirements import require_compiler
from graphwright.compiling.targets import find_pipeline, requested_passes, usual_pipeline
from graphwright.files.temporary_folders import temporary_folder
from graphwright.passes.proving import InterpreterProver
from graphwright.reporting import pricer
from graphwright.reporting.phase_timing import phase_seconds
from graphwright.reporting.pipeline_recording import record_pipeline
from graphwright.reporting.workload import choose_workload
from graphwright.sources.models import ModelOptions, Source, resolve

if TYPE_CHECKING:
    from graphwright.passes import Pass
    from graphwright.reporting.pipeline_report import Phase, PipelineReport, Workload


def run_pipeline(
    model: str,
    *,
    pipeline: str | None,
    passes: str | None,
    machine: str,
    batch: int | None,
    length: int | None,
    context: int | None,
    prove: bool,
    measure: bool,
    options: ModelOptions | None = None,
    on_stage: Callable[[str], object] = lambda _: None,
) -> PipelineReport:
    """What the passes make of the model at that path, priced for the machine of that name.

    Without `passes` or a `pipeline`, those that are usual for such a model. Raises UsageError, PassError, and what
    capture raises; with `measure` also what compiling for this machine raises.
    """
    require_compiler()  # before a machine is measured
    chosen, priced = requested_passes(passes, pipeline), pricer.find_pricer(machine, on_stage)
    on_stage("capture")
    captured = capture(resolve(model, options))
    program = captured.clone()
    workload = choose_workload(program, batch, length, context)
    report = record_pipeline(
        program,
        find_pipeline(usual_pipeline(program)) if chosen is None else chosen,
        workload,
        pipeline=usual_pipeline(captured) if chosen is None else pipeline,
        pricer=priced(workload),
        prover=InterpreterProver() if prove else None,
        on_stage=on_stage,
    )
    if not measure:
        return report
    seconds = _measured(Source(captured.name, captured), chosen, workload, on_stage)
    note = "measured: compiled for the CPU" + ("" if chosen is not None else ", which computes in float32")
    return report.model_copy(update={"measured_seconds": seconds, "notes": [*report.notes, note]})


def _measured(
    source: Source, passes: Sequence[Pass] | None, workload: Workload, on_stage: Callable[[str], object]
) -> dict[Phase, float]:
    """Seconds of each phase of the model compiled with these passes, or else as `graphwright compile` does it."""
    with temporary_folder() as folder:
        artifact = build(source, folder / "artifact", Options(pipeline=passes), on_stage)
        on_stage("measure")
        return phase_seconds(artifact.folder, workload)
