import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import builds, checkpoint, interleaved, onnx_cpu
from benchmarks.builds import build
from benchmarks.peers import environments, install
from benchmarks.peers.environments import ENVIRONMENTS, PeerEnvironment
from benchmarks.peers.process import BenchmarkError
from benchmarks.peers.systems import System
from benchmarks.shapes import ModelShape

FAKE = "tests.benchmarks.fake_worker"


@pytest.fixture
def cli(tiny_shape: ModelShape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setenv(checkpoint.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(interleaved, "measured_bandwidth", lambda: 1e9)
    systems = {name: System(name, FAKE) for name in ("ours", "peer")}
    monkeypatch.setattr(onnx_cpu, "SYSTEMS", systems)
    monkeypatch.setattr(onnx_cpu, "SHAPES", {"tiny": tiny_shape})
    application = typer.Typer()
    application.command()(onnx_cpu.main)
    return application


def test_a_run_prints_and_writes_everything(cli: typer.Typer, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    arguments = ["--systems", "ours,peer", "--shapes", "tiny", "--rounds", "2", "--startups", "1"]
    result = CliRunner().invoke(cli, [*arguments, "--json", str(file)])
    assert result.exit_code == 0, result.output
    content = json.loads(file.read_text())
    tiny = content["shapes"]["tiny"]
    assert tiny["figures"].keys() == {"ours", "peer"}
    assert tiny["ratios"]["peer"]["prefill_speed"] == 1.0
    assert tiny["figures"]["ours"]["decode_speed"] == pytest.approx(100.0)
    assert len(tiny["measurements"]["systems"]["peer"]["prefill_seconds"]) == 2
    assert content["workload"]["rounds"] == 2
    assert "cores" in content["machine"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--systems", "ours,theirs"], "no system is called 'theirs'; choose from ours, peer"),
        (["--systems", "ours,ours"], "each system can be named once"),
        (["--systems", "ours", "--shapes", "huge"], "no shape is called 'huge'; choose from tiny"),
    ],
)
def test_wrong_names_are_refused_in_one_line(
    cli: typer.Typer, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert message in result.output + capsys.readouterr().err


def test_builds_are_kept_for_peers_only(tmp_path: Path) -> None:
    options = {"build": "yes"}
    source = tmp_path / "source"
    for system in (System("peer", FAKE, options=options), System("ours", FAKE, options=options, keeps_build=False)):
        folder = build(system, source, tmp_path)
        assert (folder / "built").read_text() == str(source)
        (folder / "mark").touch()
        assert build(system, source, tmp_path) == folder
        assert (folder / "mark").exists() == system.keeps_build


def test_an_unfinished_build_is_made_again(tmp_path: Path) -> None:
    system = System("peer", FAKE, options={"build": "yes"})
    folder = build(system, tmp_path / "source", tmp_path)
    (folder / builds.FINISHED).unlink()
    (folder / "mark").touch()
    assert build(system, tmp_path / "source", tmp_path) == folder
    assert not (folder / "mark").exists()


def test_a_system_that_needs_no_build_loads_the_checkpoint(tmp_path: Path) -> None:
    source = tmp_path / "source"
    assert build(System("plain", FAKE), source, tmp_path) == source
    assert list((tmp_path / "builds").iterdir()) == []


def test_a_missing_peer_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    message = r"^genai: not installed; run `python -m benchmarks.peers.install genai`$"
    with pytest.raises(BenchmarkError, match=message):
        build(System("genai", FAKE, ENVIRONMENTS["genai"]), tmp_path / "source", tmp_path)


def test_an_environment_with_other_pins_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    old, new = (PeerEnvironment("peer", (f"package=={number}",), ()) for number in (1, 2))
    old.folder.mkdir()
    old.installed_marker.write_text("package==1\n")
    assert old.is_installed
    assert not new.is_installed


def test_installing_an_unknown_peer_is_refused() -> None:
    application = typer.Typer()
    application.command()(install.main)
    assert CliRunner().invoke(application, ["llama"]).exit_code == 2
