from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.peers import environments, install
from benchmarks.peers.environments import PeerEnvironment


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


def test_what_is_built_here_and_what_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    commands: list[list[str]] = []

    def record(command: Sequence[str], variables: Mapping[str, str]) -> None:
        assert variables == {"FLAGS": "-O3"}
        commands.append(list(command[1:]))

    monkeypatch.setattr(install, "_run", record)
    peer = PeerEnvironment(
        "peer", ("a==1", "b==2"), ("a",), from_source=("a",), variables={"FLAGS": "-O3"}, removed=("c",)
    )
    peer.folder.mkdir()
    install.install(peer)
    assert commands == [
        ["-m", "venv", str(peer.folder)],
        ["-m", "pip", "install", "--no-binary=a", "a==1", "b==2"],
        ["-m", "pip", "uninstall", "--yes", "c"],
        ["-c", "import a"],
    ]
    assert peer.is_installed
