"""`graphwright doctor`: what is installed and what this machine has."""

import sys

import typer

from graphwright.cli.output import console
from graphwright.runtime.printable import printable_line


def doctor_command() -> None:
    """Show installed packages, devices, threads and memory; exit with 1 when something is wrong."""
    from graphwright.machines.diagnosis import diagnose

    diagnosis = diagnose()
    out = console()
    for name, value in diagnosis.facts:
        out.print(f"{name:<16} {value}", markup=False)
    for problem in diagnosis.problems:
        print(f"error: {printable_line(problem)}", file=sys.stderr)
    if diagnosis.problems:
        raise typer.Exit(1)
