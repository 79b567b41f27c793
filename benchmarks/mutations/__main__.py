"""`python -m benchmarks.mutations`: plants every fault, and counts which ones the proof of passes catches and names.

Exit status 1 if one that changes the result is missed or put down to another pass, or if there is a false alarm.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.mutations.catalogue import FAULTS
from benchmarks.mutations.fault import Fault
from benchmarks.mutations.outcome import Outcome, table
from benchmarks.mutations.subjects import subject
from benchmarks.mutations.trial import MakeProver, Trial, alarmed, tried
from graphwright.passes.proving import InterpreterProver

FILE_WIDTH = 180
"""Columns of the table where no terminal sets them."""
_PROGRESS = Console(stderr=True)


def main(
    only: Annotated[list[str] | None, typer.Option(help="Name of a fault; may be given several times.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures here.")] = None,
) -> None:
    """Which planted faults the proof of passes catches, and whether it names their pass."""
    torch.set_num_threads(1)
    outcome = run(chosen(only or ()), InterpreterProver)
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    console.print(table(outcome))
    for line in outcome.summary():
        console.print(line, highlight=False)
    if json_file is not None:
        json_file.write_text(json.dumps(outcome.data(), indent=1) + "\n", encoding="utf-8")
    raise typer.Exit(int(not outcome.is_perfect))


def chosen(names: Sequence[str]) -> list[Fault]:
    """The faults of these names, or all. Raises typer.BadParameter for a name that there is not."""
    known = {fault.name: fault for fault in FAULTS}
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 1)
            raise typer.BadParameter(f"there is no fault '{name}'" + (f": did you mean '{near[0]}'?" if near else ""))
    return [known[name] for name in names] or list(FAULTS)


def run(faults: Sequence[Fault], make_prover: MakeProver) -> Outcome:
    """A trial of each fault, and the pipelines of their subjects without any."""
    names = list(dict.fromkeys(fault.subject for fault in faults))
    with _PROGRESS.status("pipelines without a fault") as status:
        without = {name: alarmed(subject(name), make_prover) for name in names}
        trials: list[Trial] = []
        for i, fault in enumerate(faults):
            status.update(f"{i} of {len(faults)}: {fault.name}")
            trials.append(tried(fault, subject(fault.subject), make_prover))
    return Outcome(trials, without)


if __name__ == "__main__":
    typer.run(main)
