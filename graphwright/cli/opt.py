"""`graphwright opt`: passes over a program's text."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphwright.errors import UsageError
from graphwright.ir import print_program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphwright.ir import Program
    from graphwright.passes import Pass


def opt_command(
    program: Annotated[str, typer.Argument(metavar="FILE.gw", help="The program; - reads standard input.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A .gw file; by default print.")] = None,
    passes: Annotated[
        str | None, typer.Option("--passes", help="Passes joined by commas, options in braces: name{option=value}.")
    ] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="A named pipeline; see `graphwright passes`.")
    ] = None,
    print_changed: Annotated[
        bool, typer.Option("--print-changed", help="Show on standard error what each pass changed.")
    ] = False,
) -> None:
    """Run passes over a program and write the result. With no passes it only checks and reprints."""
    chosen = _chosen(passes, pipeline)
    from graphwright.cli.programs import read_input, write_result
    from graphwright.passes import run_passes

    result = read_input(program)
    run_passes(result, chosen, _Changes() if print_changed else None)
    write_result(result, output)


def _chosen(passes: str | None, pipeline: str | None) -> "Sequence[Pass]":
    from graphwright.passes import named_pipeline, parse_passes

    if passes is not None and pipeline is not None:
        raise UsageError("give --passes or --pipeline, not both")
    if pipeline is not None:
        return named_pipeline(pipeline)
    return () if passes is None else parse_passes(passes)


class _Changes:
    def before(self, each: "Pass", program: "Program") -> None:
        self._text = print_program(program)

    def after(self, each: "Pass", program: "Program") -> None:
        from graphwright.passes import difference

        changes = difference(self._text, print_program(program))
        print(f"-- {each}{'' if changes else ': no change'}", file=sys.stderr)
        if changes:
            print(changes, file=sys.stderr)
