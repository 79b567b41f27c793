"""What each system makes of a checkpoint before it can load it: built once a version, or every time."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from benchmarks.peers.process import BenchmarkError, WorkerProcess
from benchmarks.peers.systems import System

FINISHED = "benchmark-build.json"


def start_worker(system: System, cache: Path) -> WorkerProcess:
    """A fresh process of the system's worker. Raises BenchmarkError when its environment is not installed."""
    environment = system.environment
    if environment is not None and not environment.is_installed:
        raise BenchmarkError(f"{system.name}: not installed; run `{environment.install_command}`")
    log = cache / "logs" / f"{system.name}.log"
    return WorkerProcess(system.name, [system.python, "-m", system.worker], log)


def build(system: System, checkpoint: Path, cache: Path) -> Path:
    """The folder that the system loads for the checkpoint. Raises BenchmarkError."""
    with start_worker(system, cache) as worker:
        recipe = json.dumps({"versions": worker.versions(), "options": system.options}, sort_keys=True)
        digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        folder = cache / "builds" / f"{checkpoint.name}-{system.name}-{digest}"
        finished = folder / FINISHED
        if system.keeps_build and finished.is_file():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        loadable = worker.prepare(checkpoint, folder, system.options)
        if loadable.is_relative_to(folder):
            finished.write_text(recipe + "\n", encoding="utf-8")
        else:
            folder.rmdir()
        return loadable
