"""`graphwright trace`: a model as a program's text."""

from pathlib import Path
from typing import Annotated

import typer

from graphwright.cli.arguments import AdapterOption, DTypeOption, IgnoreRemoteCodeOption, LogitsOption, ModelArgument
from graphwright.cli.output import stage_display


def trace_command(
    model: ModelArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write a .gw file; by default print.")] = None,
    dtype: DTypeOption = None,
    adapter: AdapterOption = None,
    ignore_remote_code: IgnoreRemoteCodeOption = False,
    logits: LogitsOption = None,
) -> None:
    """Capture MODEL and print its graph before any pass."""
    from graphwright.api import trace
    from graphwright.cli.programs import require_program_file, write_result

    require_program_file(output)
    with stage_display() as on_stage:
        on_stage("capture")
        program = trace(model, dtype=dtype, adapter=adapter, ignore_remote_code=ignore_remote_code, logits=logits)
    write_result(program, output)
