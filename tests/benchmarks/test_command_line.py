"""Mistakes on the command lines of benchmarks are one line, and found before anything is built."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import batches, contention, step_profile

COMMANDS: list[tuple[Callable[..., None], str]] = [
    (batches.main, "--shapes"),
    (contention.main, "--shape"),
    (step_profile.main, "--shape"),
]


@pytest.mark.parametrize(("command", "option"), COMMANDS)
def test_a_shape_that_does_not_exist(command: Callable[..., None], option: str) -> None:
    application = typer.Typer()
    application.command()(command)
    outcome = CliRunner().invoke(application, [option, "Nope"])
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("error: no shape is called 'Nope'; choose from SmolLM2-135M, ")
    assert outcome.stderr.count("\n") == 1
    assert not outcome.stdout
