from pathlib import Path

import pytest

from benchmarks import builds
from benchmarks.builds import build
from benchmarks.peers import environments
from benchmarks.peers.environments import ENVIRONMENTS
from benchmarks.peers.process import BenchmarkError
from benchmarks.peers.systems import System

FAKE = "tests.benchmarks.fake_worker"


def test_builds_are_kept_for_peers_only(tmp_path: Path) -> None:
    options = {"build": "yes"}
    source = tmp_path / "source"
    for system in (System("peer", FAKE, options=options), System("ours", FAKE, options=options, is_ours=True)):
        folder = build(system, source, tmp_path).folder
        assert (folder / "built").read_text() == str(source)
        (folder / "mark").touch()
        assert build(system, source, tmp_path).folder == folder
        assert (folder / "mark").exists() == (not system.is_ours)


def test_an_unfinished_build_is_made_again(tmp_path: Path) -> None:
    system = System("peer", FAKE, options={"build": "yes"})
    folder = build(system, tmp_path / "source", tmp_path).folder
    (folder / builds.FINISHED).unlink()
    (folder / "mark").touch()
    assert build(system, tmp_path / "source", tmp_path).folder == folder
    assert not (folder / "mark").exists()


def test_a_system_that_needs_no_build_loads_the_checkpoint(tmp_path: Path) -> None:
    source = tmp_path / "source"
    assert build(System("plain", FAKE), source, tmp_path).folder == source
    assert list((tmp_path / "builds").iterdir()) == []


def test_a_missing_peer_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    message = r"^genai: not installed; run `python -m benchmarks.peers.install genai`$"
    with pytest.raises(BenchmarkError, match=message):
        build(System("genai", FAKE, ENVIRONMENTS["genai"]), tmp_path / "source", tmp_path)


def test_a_kept_build_says_what_it_took(tmp_path: Path) -> None:
    system = System("peer", FAKE, options={"build": "yes"})
    first = build(system, tmp_path / "source", tmp_path)
    assert first.compile_seconds > 0
    assert build(system, tmp_path / "source", tmp_path) == first
