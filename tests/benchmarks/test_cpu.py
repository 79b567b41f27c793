import json
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import checkpoint, cpu, interleaved
from benchmarks.measurements import Workload
from benchmarks.peers.environments import REPOSITORY, PeerEnvironment
from benchmarks.peers.systems import System
from benchmarks.shapes import ModelShape

FAKE = "tests.benchmarks.fake_worker"


QUICK = Workload(4, (3, 6), rows=2, decode_steps=3, verify_steps=3, logit_context=2, logit_steps=1)


@pytest.fixture
def cli(tiny_shape: ModelShape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setenv(checkpoint.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(interleaved, "measured_bandwidth", lambda: 1e9)
    systems = {
        "ours": System("ours", FAKE, is_ours=True),
        "peer": System("peer", FAKE),
        "missing": System("missing", FAKE, PeerEnvironment("nowhere", ("package==1",), ())),
    }
    monkeypatch.setattr(cpu, "SYSTEMS", systems)
    monkeypatch.setattr(cpu, "DEFAULT_SYSTEMS", tuple(systems))
    monkeypatch.setattr(cpu, "QUICK_SYSTEMS", ("ours",))
    monkeypatch.setattr(cpu, "SHAPES", {"tiny": tiny_shape})
    monkeypatch.setattr(cpu, "DEFAULT_SHAPES", ("tiny",))
    monkeypatch.setattr(cpu, "DEFAULT", QUICK)
    application = typer.Typer()
    application.command()(cpu.main)
    return application


def test_a_run_prints_and_writes_everything(cli: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["--rounds", "2", "--save", str(tmp_path / "run.1")])
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "run.1.json").read_text())
    assert content["workload"]["rounds"] == 2
    assert "cores" in content["machine"]
    tiny = content["shapes"]["tiny"]
    assert tiny["figures"].keys() == {"ours", "peer"}
    assert tiny["best_peers"]["ours"]["prefill"] == {"name": "peer", "ratio": 1.0}
    assert tiny["figures"]["ours"]["decode"]["3"]["tokens_per_second"] == pytest.approx(100.0)
    assert len(tiny["measurements"]["systems"]["peer"]["prefill_seconds"]) == 2
    reason = "missing: not installed; run `python -m benchmarks.peers.install nowhere`"
    assert tiny["failures"] == {"missing": reason}
    text = (tmp_path / "run.1.txt").read_text()
    assert text == result.stdout
    assert f"not measured: {reason}" in text
    assert "peer: fake 1.0" in text


def test_another_clone_is_a_peer(cli: typer.Typer, tmp_path: Path) -> None:
    before = tmp_path / "before"
    (before / ".venv/bin").mkdir(parents=True)
    for name in ("tests", "benchmarks"):
        (before / name).symlink_to(REPOSITORY / name)
    arguments = ["--systems", "ours", "--rounds", "1", "--against", str(before)]
    refused = CliRunner().invoke(cli, arguments)
    assert refused.exit_code == 1
    assert f"{before} is not a clone with an environment" in refused.output
    python = before / ".venv/bin/python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    result = CliRunner().invoke(cli, [*arguments, "--save", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    (best,) = json.loads((tmp_path / "run.json").read_text())["shapes"]["tiny"]["best_peers"].values()
    assert best["prefill"] == {"name": "ours-before", "ratio": 1.0}


def test_a_quick_run_has_fewer_systems_and_rounds(cli: typer.Typer) -> None:
    result = CliRunner().invoke(cli, ["--quick"])
    assert result.exit_code == 0, result.output
    assert "peer" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--systems", "ours,theirs"], "no system is called 'theirs'; choose from ours, peer, missing"),
        (["--systems", "ours,ours"], "each system can be named once"),
        (["--contexts", "8,3"], "contexts must be numbers from 1 on, each more than the one before: '8,3'"),
        (["--contexts", "few"], "contexts must be numbers from 1 on"),
        (["--systems", "ours", "--shapes", "huge"], "no shape is called 'huge'; choose from tiny"),
    ],
)
def test_wrong_names_are_refused_in_one_line(
    cli: typer.Typer, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert message in result.output + capsys.readouterr().err
