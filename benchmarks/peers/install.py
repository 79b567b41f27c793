"""Creates a peer's virtual environment: `python -m benchmarks.peers.install genai`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.peers.environments import ENVIRONMENTS, PeerEnvironment


class InstallError(Exception):
    """A peer's environment could not be made; the message is one line that says which command failed."""


def _run(command: Sequence[str], variables: Mapping[str, str]) -> None:
    completed = subprocess.run(command, check=False, env={**os.environ, **variables})
    if completed.returncode != 0:
        raise InstallError(
            f"`{' '.join(command)}` failed with exit status {completed.returncode}: see its output above"
        )


def install(environment: PeerEnvironment) -> None:
    """Make or complete the environment and check that the peer imports. Raises InstallError."""
    environment.installed_marker.unlink(missing_ok=True)
    python, variables = str(environment.python), environment.variables
    _run([sys.executable, "-m", "venv", str(environment.folder)], variables)
    built_here = [f"--no-binary={package}" for package in environment.from_source]
    _run([python, "-m", "pip", "install", *built_here, *environment.requirements], variables)
    if environment.removed:
        _run([python, "-m", "pip", "uninstall", "--yes", *environment.removed], variables)
    _run([python, "-c", "; ".join(f"import {module}" for module in environment.modules)], variables)
    environment.installed_marker.write_text("\n".join(environment.requirements) + "\n", encoding="utf-8")


def main(name: Annotated[str, typer.Argument(help=f"One of: {', '.join(ENVIRONMENTS)}.")]) -> None:
    """Install a peer into its own environment under `.peers/`, at pinned versions."""
    console = Console(stderr=True)
    environment = ENVIRONMENTS.get(name)
    if environment is None:
        console.print(f"error: no peer is called {name!r}; choose one of {', '.join(ENVIRONMENTS)}", markup=False)
        raise typer.Exit(2)
    if environment.is_installed:
        console.print(f"{name} is already installed in {environment.folder}: {', '.join(environment.requirements)}")
        return
    try:
        install(environment)
    except InstallError as error:
        console.print(f"error: {error}", markup=False)
        raise typer.Exit(1) from None
    console.print(f"installed {name} in {environment.folder}: {', '.join(environment.requirements)}")


if __name__ == "__main__":
    typer.run(main)
