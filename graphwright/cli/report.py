"""`graphwright report`: a run of passes as an HTML page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphwright.cli import arguments
from graphwright.cli.output import console, counted, stage_display
from graphwright.errors import OptionError, UsageError

if TYPE_CHECKING:
    from graphwright.reporting.pipeline_report import PipelineReport


def report_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="The .html file to write.")],
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A checkpoint directory, a .gw file, a .pt2 archive, or file.py:factory."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--from", help="The output of `graphwright opt --json`; - reads standard input."),
    ] = None,
    pipeline: arguments.NamedPipelineOption = None,
    passes: arguments.PassesOption = None,
    logits: arguments.LogitsOption = None,
    machine: Annotated[
        str | None,
        typer.Option("--machine", help=f"Predict times on {arguments.MACHINE_NAMES} (the default)."),
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Rows in a batch; by default 1.")] = None,
    length: Annotated[int | None, typer.Option("--length", min=1, help="Tokens in the prompt; by default 512.")] = None,
    context: Annotated[
        int | None, typer.Option("--context", min=1, help="Tokens in the cache for decode; by default 128.")
    ] = None,
    prove: Annotated[bool, typer.Option("--prove", help="Compare answers before and after each pass.")] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Also measure the compiled model here.")] = False,
    adapter: arguments.AdapterOption = None,
    ignore_remote_code: arguments.IgnoreRemoteCodeOption = False,
) -> None:
    """Run passes over MODEL and write a self-contained HTML page about them.

    The page has the price and proof of each pass, a roofline plot, memory against context, what changed in the graph,
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
