"""What verifying, pricing and proving every pass costs on a model of real size.

python -m benchmarks.proof_scale [--shape SmolLM2-135M]

The pipeline `default` over a checkpoint of the published shape with random weights, twice: as it always runs (every
pass verified and priced), and with every pass proven too.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.checkpoint import cache_folder, checkpoint
from benchmarks.shapes import SHAPES
from graphwright.frontend import capture
from graphwright.passes import PIPELINES, run_passes
from graphwright.passes.proving import InterpreterProver


def main(shape: Annotated[str, typer.Option(help="A name in benchmarks/shapes.py.")] = "SmolLM2-135M") -> None:
    """Print seconds of the pipeline without and with proof, and the proof of each pass."""
    begin = time.perf_counter()
    program = capture(checkpoint(SHAPES[shape], cache_folder()))
    captured = time.perf_counter()
    run_passes(program.clone(), PIPELINES["default"])
    passed = time.perf_counter()
    prover = InterpreterProver()
    report = run_passes(program, PIPELINES["default"], prover=prover)
    proven = time.perf_counter()
    table = Table("pass", "seconds", "proof", "error", "bound", "proof seconds")
    for record in report.records:
        proof = record.proof
        assert proof is not None, "a prover was given"
        numbers = ["" if n is None else f"{n:.2g}" for n in (proof.error, proof.bound)]
        table.add_row(record.name, f"{record.seconds:.2f}", proof.status, *numbers, f"{proof.seconds:.2f}")
    console = Console(highlight=False)
    console.print(table)
    for note in prover.notes:
        console.print(f"note: {note}")
    console.print(
        f"{shape}: capture {captured - begin:.1f} s; pipeline with verification {passed - captured:.2f} s; "
        f"with proof {proven - passed:.1f} s"
    )


if __name__ == "__main__":
    typer.run(main)
