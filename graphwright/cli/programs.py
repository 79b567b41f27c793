"""Reading and writing programs where `-` stands for standard input and no file for standard output."""

import sys
from pathlib import Path

from graphwright.ir import Program, parse_program, read_program
from graphwright.programs import program_text, write_program


def read_input(path: str) -> Program:
    """The program in the file `path`, or on standard input for `-`. Raises TextError with line and column."""
    return parse_program(sys.stdin.read(), "<stdin>") if path == "-" else read_program(path)


def write_result(program: Program, output: Path | None) -> None:
    """Write to the file, or print."""
    if output is None:
        sys.stdout.write(program_text(program))
    else:
        write_program(program, output)
