"""Options that a backend declares: arguments in Python, options of the command line, and what each refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import typer
from typer.testing import CliRunner

from graphwright.backends.interface import BackendOptions, option
from graphwright.backends.onnx import OnnxBackend, OnnxOptions
from graphwright.cli import backend_options as declared
from graphwright.compiling.targets import backend_options
from graphwright.errors import OptionError


@dataclass(frozen=True)
class Turned(BackendOptions):
    tile: int = option(4, "Rows of a tile.")
    fast: bool = option(False, "Be fast.")


class Other(OnnxBackend):
    name: ClassVar[str] = "other"
    options: ClassVar[type[BackendOptions]] = Turned


def test_what_is_given_takes_the_place_of_defaults() -> None:
    assert backend_options(OnnxBackend(), {}) == OnnxOptions("ort")
    assert backend_options(OnnxBackend(), {"dialect": "portable"}) == OnnxOptions("portable")
    assert backend_options(Other(), {"tile": 8}) == Turned(8, fast=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dialec": "ort"}, "no option of the backend 'onnx' called 'dialec': did you mean 'dialect'"),
        ({"dialect": "or"}, "there is no dialect 'or': did you mean 'ort'"),
        ({"dialect": 1}, "is 1: must be of type str"),
    ],
)
def test_other_names_values_and_types_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        backend_options(OnnxBackend(), given)
    with pytest.raises(OptionError, match="is True: must be of type int"):
        backend_options(Other(), {"tile": True})


def test_the_command_line_has_the_options_and_passes_on_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "BACKENDS", {"onnx": OnnxBackend(), "other": Other()})
    seen: list[dict[str, Any]] = []

    def command(name: str, **options: object) -> None:
        seen.append({"name": name, **options})

    application = typer.Typer()
    application.command()(declared.with_backend_options(command))
    for arguments in (["a"], ["b", "--tile", "8", "--fast"], ["c", "--dialect", "portable"]):
        result = CliRunner().invoke(application, arguments)
        assert result.exit_code == 0, result.output
    assert seen == [{"name": "a"}, {"name": "b", "tile": 8, "fast": True}, {"name": "c", "dialect": "portable"}]
    assert CliRunner().invoke(application, ["d", "--tile", "many"]).exit_code == 2
