"""Prints the program around passes, on standard error: `--print-before`, `--print-after`, `--print-changed`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from graphwright.cli.optional_values import EVERY
from graphwright.compiling.targets import check_choice
from graphwright.files.programs import display_text
from graphwright.ir import Program
from graphwright.passes import Pass, difference
from graphwright.runtime.printable import printable


@dataclass
class PassPrinter:
    """An observer of passes. Each wish is a pass's name, `EVERY`, or None for no printing."""

    before_pass: str | None = None
    after_pass: str | None = None
    changed_pass: str | None = None
    _text: str = ""

    @property
    def prints(self) -> bool:
        return any(wish is not None for wish in (self.before_pass, self.after_pass, self.changed_pass))

    def check(self, passes: Sequence[Pass]) -> None:
        """Raises UsageError, with the nearest name, for a pass that is not among those."""
        for wish in (self.before_pass, self.after_pass, self.changed_pass):
            if wish is not None and wish != EVERY:
                check_pass(wish, passes)

    def before(self, each: Pass, program: Program) -> None:
        if _wanted(self.before_pass, each):
            _print(f"-- before {each}", display_text(program))
        if _wanted(self.changed_pass, each):
            self._text = display_text(program)

    def during(self, each: Pass, done: int, total: int) -> None:
        """Nothing to print: the program is in the middle of a change."""

    def after(self, each: Pass, program: Program) -> None:
        if _wanted(self.after_pass, each):
            _print(f"-- after {each}", display_text(program))
        if _wanted(self.changed_pass, each):
            changes = difference(self._text, display_text(program))
            _print(f"-- {each}{'' if changes else ': no change'}", changes)


def check_pass(name: str, passes: Sequence[Pass]) -> None:
    """Raises UsageError, with the nearest name, for a pass that is not among those."""
    check_choice("pass in this run named", name, dict.fromkeys(each.name for each in passes))


def _wanted(wish: str | None, each: Pass) -> bool:
    return wish in (EVERY, each.name)


def _print(heading: str, text: str) -> None:
    for each in (heading, text):
        if each:
            print(printable(each), file=sys.stderr)
