"""A failed proof as something to look into: the program before the pass, and the command that shows it fail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graphwright.compiling.targets import kernel_targets
from graphwright.files.programs import write_program
from graphwright.ir import UserError
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.proving import InterpreterProver, ProofError
from graphwright.passes.proving.layers import without_repeats

if TYPE_CHECKING:
    from graphwright.ir import Program


def write_reproducer(failure: ProofError, path: Path) -> str:
    """Write the program before the pass that failed to the `.gw` file `path`; returns the command that repeats it.

    Of equal layers one is kept, where the pass fails on that too. Raises UsageError when the file cannot be written.
    """
    assert failure.program is not None, "a failure that a prover found has its program"
    smaller, dropped = without_repeats(failure.program, 1)
    write_program(smaller if dropped and _fails(smaller, failure.each) else failure.program, path)
    return f"graphwright opt {path} --passes '{failure.each}' --prove"


def _fails(program: Program, each: str) -> bool:
    try:
        run_passes(program.clone(), parse_passes(each, kernel_targets()), prover=InterpreterProver())
    except ProofError:
        return True
    except UserError:
        return False  # without those layers the pass refuses, which is another matter
    return False
