"""What all trials come to: figures, a table, and the same as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from benchmarks.mutations.trial import Answer, Trial


@dataclass(frozen=True)
class Outcome:
    """`without` are the answers for each subject's pipeline without a fault."""

    trials: Sequence[Trial]
    without: Mapping[str, Answer]

    @property
    def counted(self) -> list[Trial]:
        """The faults that change answers and that the verifier lets pass."""
        return [t for t in self.trials if t.changes and not t.verifier]

    @property
    def caught(self) -> list[Trial]:
        return [t for t in self.counted if t.answer.caught]

    @property
    def named(self) -> list[Trial]:
        return [t for t in self.caught if t.named]

    @property
    def quiet(self) -> list[Trial]:
        """The faults that change nothing."""
        return [t for t in self.trials if not t.changes and not t.verifier]

    @property
    def false_alarms(self) -> list[str]:
        """What raised an alarm without reason: faults that change nothing, and subjects without a fault."""
        faults = [t.name for t in self.quiet if t.answer.caught]
        return faults + [name for name, answer in self.without.items() if answer.caught or answer.message]

    @property
    def is_perfect(self) -> bool:
        return len(self.named) == len(self.counted) and not self.false_alarms

    def summary(self) -> list[str]:
        """The figures, a line each."""
        by_verifier = [t for t in self.trials if t.verifier]
        quiet = [t for t in self.quiet if t.answer.caught]
        subjects = [name for name, answer in self.without.items() if answer.caught or answer.message]
        lines = [
            f"caught {len(self.caught)} / {len(self.counted)} planted that change the result",
            f"named {len(self.named)} / {len(self.counted)}",
            f"false alarms {len(quiet)} / {len(self.quiet)} planted that change nothing",
            f"false alarms {len(subjects)} / {len(self.without)} pipelines without a fault",
        ]
        return [*lines, f"by the verifier {len(by_verifier)}"] if by_verifier else lines

    def data(self) -> dict[str, Any]:
        """All of it, for a JSON file. A change of null: the faulty program does not run."""
        figures = {
            "planted": len(self.trials),
            "change_the_result": len(self.counted),
            "caught": len(self.caught),
            "named": len(self.named),
            "change_nothing": len(self.quiet),
            "false_alarms": self.false_alarms,
        }
        without = {name: asdict(answer) for name, answer in self.without.items()}
        return {"figures": figures, "trials": [asdict(t) for t in self.trials], "without_fault": without}


def table(outcome: Outcome) -> Table:
    """A row a fault, in the order of the catalogue."""
    shown = Table(title="Planted faults", title_justify="left")
    shown.add_column("fault", no_wrap=True)
    shown.add_column("pass", no_wrap=True)
    shown.add_column("model", no_wrap=True)
    shown.add_column("error ÷ bound", justify="right", no_wrap=True)
    for column in ("caught", "named"):
        shown.add_column(column, no_wrap=True)
    shown.add_column("first op that departs", no_wrap=True, max_width=60)
    for trial in outcome.trials:
        shown.add_row(*_row(trial), style="" if trial.as_it_should_be else "bold red")
    return shown


def _row(trial: Trial) -> list[str]:
    start = [trial.name, trial.each, trial.subject]
    if trial.verifier:
        return [*start, "", "verifier", "", trial.verifier]
    change = "does not run" if trial.change is None else f"{trial.change:.2g}"
    answer = trial.answer
    caught = "yes" if answer.caught else "no"
    named = ("yes" if trial.named else f"no: {answer.each}") if answer.caught else ""
    place = f"{answer.op} at {answer.location}" if answer.location else answer.op
    return [*start, change, caught, named, place or answer.message]
