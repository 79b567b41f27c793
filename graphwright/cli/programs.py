"""Reading and writing programs where `-` stands for standard input and no file for standard output."""

from collections.abc import Callable
from pathlib import Path

from graphwright.cli.output import write_text
from graphwright.compiling.requirements import require_compiler
from graphwright.files.output_paths import require_file
from graphwright.files.programs import program_text, write_program
from graphwright.files.standard_input import standard_input
from graphwright.ir import Program, parse_program, read_program
from graphwright.sources.models import ModelOptions, resolve


def read_input(model: str, on_stage: Callable[[str], object], options: ModelOptions | None = None) -> Program:
    """The program in a `.gw` file, or on standard input for `-`; any other model is captured.

    Raises TextError with line and column for text that is no program, UsageError, and what capture raises.
    """
    if options is not None and (model == "-" or model.endswith(".gw")):
        options.refuse_for_captured("a program has been captured already")
    require_compiler()
    if model == "-":
        return parse_program(standard_input(), "<stdin>")
    if model.endswith(".gw"):
        return read_program(model)
    from graphwright.compiling.compiler import capture

    on_stage("capture")
    return capture(resolve(model, options))


def require_program_file(output: Path | None) -> None:
    """Raise OptionError, before any work, where a program could not be written to the file."""
    if output is not None:
        require_file(output, (".gw",), "a program's file")


def write_result(program: Program, output: Path | None) -> None:
    """Write to the file, or print."""
    if output is None:
        write_text(program_text(program))
    else:
        write_program(program, output)
