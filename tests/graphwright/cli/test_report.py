"""`graphwright report` from saved runs: the page, and one clear line for what cannot be drawn."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from graphwright.sources.models import ModelOptions
from tests.graphwright.commands import Commands
from tests.graphwright.reporting.html import reports

RUN = reports.small().model_dump(mode="json")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(RUN), encoding="utf-8")
    return path


def test_a_saved_run(commands: Commands, run: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "report.html"
    said = commands.succeed("report", "--from", run, "-o", page)
    assert said == f"wrote {page}: 1 pass over small\n"
    assert "<title>small: Graphwright report</title>" in page.read_text(encoding="utf-8")


def test_standard_input(commands: Commands, tmp_path: Path) -> None:
    commands.succeed("report", "--from", "-", "-o", tmp_path / "report.html", stdin=json.dumps(RUN))
    assert (tmp_path / "report.html").is_file()


def test_a_model_is_run_as_the_options_say(commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []

    def run_pipeline(model: str, on_stage: object, **options: object) -> object:
        calls.append((model, options))
        return reports.small()

    monkeypatch.setitem(sys.modules, "graphwright.reporting.pipeline_run", SimpleNamespace(run_pipeline=run_pipeline))
    commands.succeed("report", "model.gw", "-o", tmp_path / "a.html")
    options = ["--passes", "cse", "--machine", "h100", "--batch", "2", "--length", "3", "--context", "4", "--prove"]
    commands.succeed("report", "model.gw", "-o", tmp_path / "b.html", *options)
    common = {"pipeline": None, "measure": False, "options": ModelOptions()}
    unsaid, said = {"length": None, "context": None}, {"length": 3, "context": 4}
    assert calls == [
        ("model.gw", common | {"passes": None, "machine": "local", "batch": None, **unsaid, "prove": False}),
        ("model.gw", common | {"passes": "cse", "machine": "h100", "batch": 2, **said, "prove": True}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON, or is cut short"),
        (json.dumps(RUN)[:-20], "is not JSON, or is cut short"),
        ("[1]", "is not a run of passes"),
        ("{}", "is not a run of passes"),
        (json.dumps(RUN | {"format_version": 99}), "has format version 99, and this graphwright reads 2"),
        (json.dumps(RUN | {"workload": {"batch": 0}}), "is damaged: workload.batch is 0: must be at least 1"),
        (json.dumps(RUN | {"passes": 3}), "is damaged: passes is 3: must be"),
        (json.dumps(RUN | {"surprise": 3}), "is damaged: surprise is not known here"),
        (json.dumps(RUN | {"machine": RUN["machine"] | {"bytes_per_second": 0}}), "machine.bytes_per_second"),
        (json.dumps(RUN | {"machine": RUN["machine"] | {"flops_per_second": {}}}), "machine.flops_per_second"),
    ],
)
def test_damaged_runs(commands: Commands, run: Path, tmp_path: Path, text: str, message: str) -> None:
    run.write_text(text, encoding="utf-8")
    said = commands.fail("report", "--from", run, "-o", tmp_path / "report.html")
    assert message in said
    assert str(run) in said
    assert not (tmp_path / "report.html").exists()


def test_bytes_that_are_no_text(commands: Commands, run: Path, tmp_path: Path) -> None:
    run.write_bytes(b"\xff\xfe\x00")
    assert "is not JSON" in commands.fail("report", "--from", run, "-o", tmp_path / "report.html")


def test_files_that_are_not_there(commands: Commands, run: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.json"
    assert f"{absent} cannot be read" in commands.fail("report", "--from", absent, "-o", tmp_path / "report.html")
    assert "cannot be written" in commands.fail("report", "--from", run, "-o", run / "report.html")


def test_arguments_that_contradict_each_other(commands: Commands, run: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert "give a MODEL to run, or --from" in commands.fail("report", "-o", page)
    assert "give a MODEL to run, or --from" in commands.fail("report", "model", "--from", run, "-o", page)
    assert "--prove says how" in commands.fail("report", "--from", run, "-o", page, "--prove")
    assert "--machine says how" in commands.fail("report", "--from", run, "-o", page, "--machine", "h100")
    assert "ends in .html" in commands.fail("report", "--from", run, "-o", tmp_path / "report.pdf")
    assert not page.exists()
