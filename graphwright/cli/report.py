"""`graphwright report`: a run of passes as an HTML page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphwright.cli.arguments import (
    AdapterOption,
    IgnoreRemoteCodeOption,
    LogitsOption,
    NamedPipelineOption,
    PassesOption,
)
from graphwright.cli.output import console, counted, stage_display
from graphwright.errors import OptionError, UsageError

if TYPE_CHECKING:
    from graphwright.reporting.pipeline_report import PipelineReport


def report_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="The page, an .html file.")],
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A checkpoint directory, a .gw file, a .pt2 archive, or file.py:factory."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--from", help="Draw a run that `graphwright opt --json` printed; - reads standard input."),
    ] = None,
    pipeline: NamedPipelineOption = None,
    passes: PassesOption = None,
    logits: LogitsOption = None,
    machine: Annotated[
        str | None, typer.Option("--machine", help="Predict times for this machine, by default local.")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Rows at once, by default 1.")] = None,
    length: Annotated[int | None, typer.Option("--length", min=1, help="Tokens of a prompt.")] = None,
    context: Annotated[
        int | None, typer.Option("--context", min=1, help="Tokens in the cache when one is decoded.")
    ] = None,
    prove: Annotated[bool, typer.Option("--prove", help="Prove each pass against the program before it.")] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Also measure the result on this machine.")] = False,
    adapter: AdapterOption = None,
    ignore_remote_code: IgnoreRemoteCodeOption = False,
) -> None:
    """Run passes over MODEL and draw a page of what each did: self-contained, for any browser.

    The page holds prices and proofs of each pass, a roofline plot, memory against context, what changed in the graph,
    and the final graph.
    """
    if (model is None) == (run is None):
        raise OptionError("give a MODEL to run, or --from and a run that was saved")
    from graphwright.files.output_paths import require_file

    settings = {
        "--pipeline": pipeline,
        "--passes": passes,
        "--logits": logits,
        "--adapter": adapter,
        "--machine": machine,
        "--batch": batch,
        "--length": length,
        "--context": context,
        "--prove": prove or None,
        "--measure": measure or None,
        "--ignore-remote-code": ignore_remote_code or None,
    }
    require_file(output, (".html", ".htm"), "a page")
    if run is not None:
        given = [name for name, value in settings.items() if value is not None]
        if given:
            raise OptionError(f"{given[0]} says how to run passes, and --from draws a run that is over: leave one out")
        from graphwright.reporting.saved_run import read_run

        _write(read_run(run), output)
        return
    # The compiler loads in a second or two, which drawing a saved run should not take.
    from graphwright.reporting.pipeline_run import run_pipeline
    from graphwright.sources.models import ModelOptions

    assert model is not None, "else there is a saved run"
    with stage_display() as on_stage:
        result = run_pipeline(
            model,
            pipeline=pipeline,
            passes=passes,
            machine=machine or "local",
            batch=batch,
            length=length,
            context=context,
            prove=prove,
            measure=measure,
            options=ModelOptions(ignore_remote_code, logits, adapter),
            on_stage=on_stage,
        )
    _write(result, output)


def _write(report: "PipelineReport", output: Path) -> None:
    from graphwright.ir.atomic_file import write_atomically
    from graphwright.reporting.html import render

    page = render(report)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    passes = counted(len(report.passes), "pass", "passes")
    console().print(f"wrote {output}: {passes} over {report.program}", markup=False)
