"""The demo behind `make demo`: compiles the bundled model, tells a story, and says how fast that was."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

import graphwright
from graphwright.cli.output import console, stage_display
from graphwright.runtime.cores import available_cores

BUNDLED = Path(__file__).parent / "models" / "storyteller"
OUTPUT = Path("out/demo")
NEW_TOKENS = 200


def main(
    model: Annotated[Path, typer.Argument(help="A checkpoint directory.")] = BUNDLED,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the artifact.")] = OUTPUT,
    seed: Annotated[int, typer.Option(help="Another seed tells another story.")] = 1,
) -> None:
    """Compile MODEL, generate from its start token, and print the speed."""
    out = console()
    try:
        with stage_display() as on_stage:
            compiled = graphwright.compile(model, output=output, on_stage=on_stage)
        assert compiled.report is not None, "compile reports"
        out.print(f"compiled {model.name} to {output} in {compiled.report.seconds:.1f} s\n", markup=False)
        tokens, seconds = _tell(compiled, seed)
    except Exception as error:
        if not graphwright.is_user_error(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    out.print(f"\n{tokens} tokens in {seconds:.2f} s: {tokens / seconds:.0f} a second on {available_cores()} cores\n")
    out.print("Try next, after `. .venv/bin/activate`:")
    out.print(f"  graphwright generate {output} 'Once upon a time there was' --seed 2", markup=False)
    out.print(f"  graphwright inspect {output}", markup=False)
    out.print(f"  graphwright trace {os.path.relpath(model)} -o out/model.gw", markup=False)
    out.print("  graphwright opt out/model.gw --pipeline default --print-changed -o out/optimized.gw")


def _tell(compiled: graphwright.CompiledModel, seed: int) -> tuple[int, float]:
    """Stream a story to standard output; its number of tokens and the seconds it took."""
    start = time.perf_counter()
    story = compiled.stream("", max_new_tokens=NEW_TOKENS, temperature=0.8, seed=seed)
    while True:
        try:
            piece = next(story)
        except StopIteration as end:
            seconds = time.perf_counter() - start
            print(flush=True)
            return len(end.value.token_ids), seconds
        print(piece, end="", flush=True)


if __name__ == "__main__":
    typer.run(main)
