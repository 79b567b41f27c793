"""What each system makes of a checkpoint before it can load it: built once a version, or every time."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.process import BenchmarkError, WorkerProcess
from benchmarks.peers.systems import System

FINISHED = "finished-build.json"


@dataclass(frozen=True)
class Build:
    """The folder that a system loads, and the seconds that making it took, in this run or an earlier one."""

    folder: Path
    compile_seconds: float


def start_worker(system: System, cache: Path) -> WorkerProcess:
    """A fresh process of the system's worker. Raises BenchmarkError when its environment is not installed."""
    environment = system.environment
    if environment is not None and not environment.is_installed:
        raise BenchmarkError(f"{system.name}: not installed; run `{environment.install_command}`")
    log = cache / "logs" / f"{system.name}.log"
    return WorkerProcess(system.name, [system.python, "-m", system.worker], log, folder=system.checkout)


def build(system: System, checkpoint: Path, cache: Path) -> Build:
    """What the system loads for the checkpoint. Raises BenchmarkError."""
    with start_worker(system, cache) as worker:
        recipe = {"versions": worker.versions(), "options": system.options}
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
        folder = cache / "builds" / f"{checkpoint.name}-{system.name}-{digest}"
        finished = folder / FINISHED
        if system.is_pinned and finished.is_file():
            made = json.loads(finished.read_text(encoding="utf-8"))
            return Build(Path(made["loads"]), made["seconds"])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = time.perf_counter()
        loadable = worker.prepare(checkpoint, folder, system.options)
        seconds = time.perf_counter() - began
        if loadable.is_relative_to(folder):
            made = {**recipe, "loads": str(loadable), "seconds": seconds}
            finished.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
        else:
            folder.rmdir()
        return Build(loadable, seconds)
