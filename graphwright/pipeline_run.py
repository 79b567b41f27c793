"""From a model to the report of a run of passes: captured, optimized, priced, and proven on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from graphwright import pricer
from graphwright.compiler import capture
from graphwright.errors import UsageError
from graphwright.models import resolve
from graphwright.passes import named_pipeline
from graphwright.passes.proving import InterpreterProver
from graphwright.pipeline_recording import record_pipeline
from graphwright.setting import choose_setting
from graphwright.targets import asked_passes, usual_pipeline

if TYPE_CHECKING:
    from graphwright.pipeline_report import PipelineReport


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
    on_stage: Callable[[str], object] = lambda _: None,
) -> PipelineReport:
    """What the passes make of the model at that path, priced for the machine of that name.

    Without `passes` or a `pipeline`, those that are usual for such a model. Raises UsageError, PassError, and what
    capture raises.
    """
    if measure:
        raise UsageError("nothing measures a run of passes yet: leave --measure out")
    chosen, priced = asked_passes(passes, pipeline), pricer.find_pricer(machine)
    on_stage("capture")
    program = capture(resolve(model)).clone()
    setting = choose_setting(program, batch, length, context)
    name = usual_pipeline(program) if chosen is None else pipeline
    return record_pipeline(
        program,
        named_pipeline(usual_pipeline(program)) if chosen is None else chosen,
        setting,
        pipeline=name,
        pricer=None if priced is None else priced(setting),
        prover=InterpreterProver() if prove else None,
        on_stage=on_stage,
    )
