"""Runs the command line in this process, as a shell would see it."""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from graphwright.cli import main


@dataclass(frozen=True)
class Outcome:
    status: int
    output: str
    errors: str


class Commands:
    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def run(self, *arguments: str | Path, stdin: str = "") -> Outcome:
        """Run `graphwright ARGUMENTS` with `stdin` on standard input."""
        self._monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        output, errors = self._capsys.readouterr()
        assert isinstance(end.value.code, int)
        return Outcome(end.value.code, output, errors)

    def succeed(self, *arguments: str | Path, stdin: str = "") -> str:
        """The standard output of a command that must end well."""
        outcome = self.run(*arguments, stdin=stdin)
        assert outcome.status == 0, outcome.errors
        return outcome.output

    def fail(self, *arguments: str | Path, stdin: str = "") -> str:
        """The one line that a command must print when the user's input is at fault."""
        outcome = self.run(*arguments, stdin=stdin)
        assert outcome.status == 2, (outcome.status, outcome.output, outcome.errors)
        assert outcome.output == ""
        lines = outcome.errors.splitlines()
        assert len(lines) == 1, outcome.errors
        assert lines[0].startswith("error: ")
        return lines[0].removeprefix("error: ")
