"""`graphwright opt`: passes over a program, proven and priced on request."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphwright.cli import arguments
from graphwright.cli.optional_values import optional_values
from graphwright.cli.output import stage_display, write_text
from graphwright.errors import OptionError, UsageError

if TYPE_CHECKING:
    from graphwright.backends.interface import Backend
    from graphwright.ir import Program
    from graphwright.passes.proving import ProofError
    from graphwright.reporting.pipeline_report import PipelineReport

OptCommand = optional_values("--print-before", "--print-after", "--print-changed")


def opt_command(
    program: arguments.ProgramArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write a .gw file; by default print.")] = None,
    passes: arguments.PassesOption = None,
    pipeline: arguments.NamedPipelineOption = None,
    adapter: arguments.AdapterOption = None,
    ignore_remote_code: arguments.IgnoreRemoteCodeOption = False,
    logits: arguments.LogitsOption = None,
    stop_after: Annotated[
        str | None, typer.Option("--stop-after", metavar="PASS", help="Stop after the first pass of this name.")
    ] = None,
    print_before: Annotated[
        str | None,
        typer.Option("--print-before", metavar="[=PASS]", help="Print the program before PASS, or before every pass."),
    ] = None,
    print_after: Annotated[
        str | None,
        typer.Option("--print-after", metavar="[=PASS]", help="Print the program after PASS, or after every pass."),
    ] = None,
    print_changed: Annotated[
        str | None,
        typer.Option("--print-changed", metavar="[=PASS]", help="Print what PASS, or every pass, changes."),
    ] = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Compare answers before and after each pass; stop at a difference.")
    ] = False,
    price: Annotated[
        str | None,
        typer.Option("--price", metavar="MACHINE", help=f"Predict times on {arguments.MACHINE_NAMES}."),
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Rows to price; by default 1.")] = None,
    length: Annotated[
        int | None, typer.Option("--length", min=1, help="Tokens of the prompt to price; by default 512.")
    ] = None,
    context: Annotated[
        int | None, typer.Option("--context", min=1, help="Tokens in the cache to price decode at; by default 128.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON; its schema is docs/pipeline-report.schema.json.")
    ] = False,
) -> None:
    """Run passes over a program, or over a model that is captured first, and print the result.

    Without passes, the program is only verified and printed. With --prove, --price or --json, a table or JSON of what
    each pass did is printed instead of the program, which -o still writes; with the pipeline cpu-tvm, the launch plan
    follows. --print-before, --print-after and --print-changed print to stderr.
    """
    from graphwright.cli.pass_printer import PassPrinter, check_pass
    from graphwright.compiling.targets import backend_behind, requested_passes

    chosen = requested_passes(passes, pipeline) or ()
    printer = PassPrinter(print_before, print_after, print_changed)
    printer.check(chosen)
    if stop_after is not None:
        check_pass(stop_after, chosen)
        chosen = chosen[: 1 + next(i for i, each in enumerate(chosen) if each.name == stop_after)]
    sizes = (batch, length, context)
    reports = prove or json or price is not None
    if not reports and any(size is not None for size in sizes):
        raise OptionError("--batch, --length and --context are sizes to price: give --price MACHINE, or --json")
    from graphwright.cli.programs import read_input, require_program_file, write_result
    from graphwright.compiling.pass_progress import PassProgress
    from graphwright.passes import run_passes
    from graphwright.passes.proving import InterpreterProver, ProofError
    from graphwright.reporting import pricer
    from graphwright.reporting.pipeline_recording import record_pipeline
    from graphwright.reporting.workload import choose_workload
    from graphwright.sources.models import ModelOptions

    require_program_file(output)
    report: PipelineReport | None = None
    with stage_display(shown=not printer.prints) as on_stage:
        priced = pricer.find_pricer(price, on_stage)
        result = read_input(program, on_stage, ModelOptions(ignore_remote_code, logits, adapter))
        try:
            if reports:
                workload = choose_workload(result, *sizes)
                report = record_pipeline(
                    result,
                    chosen,
                    workload,
                    pipeline=None if stop_after is not None else pipeline,
                    pricer=priced(workload),
                    prover=InterpreterProver() if prove else None,
                    observer=printer,
                    on_stage=on_stage,
                )
            else:
                run_passes(result, chosen, PassProgress(on_stage, printer))
        except ProofError as failure:
            on_stage("reproduce")
            raise UsageError(_with_reproducer(failure)) from None
    if report is None or output is not None:
        write_result(result, output)
    if report is not None:
        _print_report(report, json)
        backend = backend_behind(pipeline)
        if backend is not None and stop_after is None and not json:
            _print_plan(backend, result)


def _with_reproducer(failure: "ProofError") -> str:
    """The failure in one line, and how to see it again."""
    from graphwright.reporting.reproducer import write_reproducer

    try:
        command = write_reproducer(failure, Path(f"{failure.each.partition('{')[0]}-fails.gw"))
    except UsageError as problem:
        return f"{failure}; no reproducer could be kept: {problem}"
    return f"{failure}; to see it again: {command}"


def _print_plan(backend: "Backend", program: "Program") -> None:
    """The launch plans behind the table; where the backend is not installed, a notice on standard error."""
    from graphwright.ir import UnsupportedError
    from graphwright.ir.notices import notify

    try:
        text = backend.plan_text(program)
    except UnsupportedError as problem:
        notify(f"no launch plan is shown: {problem}")
    else:
        if text is not None:
            write_text("\n" + text)


def _print_report(report: "PipelineReport", json: bool) -> None:
    if json:
        write_text(report.model_dump_json(indent=2) + "\n")
        return
    from graphwright.cli.pipeline_table import print_pipeline

    print_pipeline(report)
