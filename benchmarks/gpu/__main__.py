"""GPU benchmark: `python -m benchmarks.gpu bundle OUT` anywhere, `python -m benchmarks.gpu run OUT` beside a GPU.

A bundle holds plans and machine code; weights are filled on the device from a seed. A run takes rows in the order of
their importance, keeps what it has measured after each, goes on where it was stopped, and stops itself.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, cast

import typer
from rich.console import Console

from benchmarks.gpu.bundle import BundleError, write_bundle
from benchmarks.gpu.machine import described, measured_rates
from benchmarks.gpu.rows import SMALLEST, Row, rows
from benchmarks.gpu.table import print_table
from graphwright.errors import is_user_error

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)
PROGRESS = Console(stderr=True)
ONLY = typer.Option(help="Only rows in whose name this stands.")


@app.command()
def bundle(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    architectures: Annotated[str, typer.Option(help="As in --target cuda:ARCHITECTURES.")] = "sm_90",
    only: Annotated[str, ONLY] = "",
) -> None:
    """Compile what the rows need. Needs no GPU."""
    chosen = _chosen(only)
    try:
        size = write_bundle(folder, chosen, architectures, PROGRESS.print)
    except Exception as problem:
        if isinstance(problem, BundleError) or is_user_error(problem):
            _refuse(str(problem))
        raise
    PROGRESS.print(f"{folder}: {len(chosen)} rows, {size / 2**20:.1f} MiB")


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="A bundle.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Begin no row after so many.")] = 9,
    save: Annotated[Path | None, typer.Option(help="Results, as JSON; by default results.json in the bundle.")] = None,
    device: Annotated[
        Literal["gpu", "emulator"],
        typer.Option(help="emulator: our own rows of the smallest shapes alone, to try the benchmark itself."),
    ] = "gpu",
    only: Annotated[str, ONLY] = "",
) -> None:
    """Measure the rows that no result is known for, each in a process of its own, and print the table."""
    if not (folder / "bundle.json").is_file():
        _refuse(f"{folder} is no bundle: make one by `python -m benchmarks.gpu bundle {folder}`")
    if device == "gpu":
        _require_gpu()
    path = save or folder / "results.json"
    results: dict[str, Any] = _results(path) if path.is_file() else {"rows": {}}
    if "machine" not in results:
        results["machine"] = described(device)
        results["rates"] = measured_rates() if device == "gpu" else {}
    began = time.monotonic()
    for row in _chosen(only):
        if device == "emulator" and (row.build.shape not in SMALLEST or row.system != "graphwright"):
            continue
        left = 60 * minutes - (time.monotonic() - began)
        if row.name in results["rows"] or (row.system == "graphwright" and not _is_bundled(folder, row)):
            continue
        if left <= 0:
            PROGRESS.print(f"stopped after {minutes:g} minutes; run again to go on")
            break
        PROGRESS.print(row.name)
        results["rows"][row.name] = _measured(row, folder, device, left + 30)
        path.write_text(json.dumps(results, indent=2) + "\n")
    print_table(results)


@app.command()
def table(results: Annotated[Path, typer.Argument(help="Results of a run.")]) -> None:
    """Print the table of results."""
    print_table(_results(results))


@app.command(hidden=True)
def one(folder: Path, name: str, device: str) -> None:
    """One row, in this process; prints JSON."""
    row = next(row for row in rows() if row.name == name)
    if row.system != "graphwright":
        from benchmarks.gpu import peers

        figures = peers.measure(row)
    else:
        from benchmarks.gpu import ours

        engine = None
        if device == "emulator":
            from graphwright.emulating import emulated_engine

            engine = emulated_engine
        figures = ours.measure(row, folder, engine)
    print(json.dumps(figures))


def _measured(row: Row, folder: Path, device: str, seconds: float) -> dict[str, Any]:
    """The figures, or why there are none."""
    command = [sys.executable, "-m", "benchmarks.gpu", "one", str(folder), row.name, device]
    if row.kind in ("memcheck", "racecheck"):
        if shutil.which("compute-sanitizer") is None:
            return {"failure": "compute-sanitizer is not installed"}
        command = ["compute-sanitizer", "--tool", row.kind, "--error-exitcode", "1", *command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"failure": f"not done after {seconds:.0f} seconds"}
    lines = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip().splitlines()
    if done.returncode != 0:
        return {"failure": lines[-1] if lines else f"exit status {done.returncode}"}
    return json.loads(next(line for line in reversed(lines) if line.startswith("{")))


def _is_bundled(folder: Path, row: Row) -> bool:
    return (folder / "artifacts" / row.build.name).is_dir()


def _chosen(only: str) -> list[Row]:
    found = [row for row in rows() if only in row.name]
    if not found:
        _refuse(f"no row has {only!r} in its name; one is called {next(rows()).name!r}")
    return found


def _results(path: Path) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        _refuse(f"{path} cannot be read as results: {problem}")
    if not isinstance(results, dict) or not isinstance(cast("dict[str, Any]", results).get("rows"), dict):
        _refuse(f"{path} has no results of a run; name another file by --save")
    return cast("dict[str, Any]", results)


def _require_gpu() -> None:
    """The peers and the measured rates need torch with CUDA, our own rows the driver."""
    try:
        import torch
    except ImportError:
        _refuse(
            "torch is not installed, which this benchmark measures beside; --device emulator tries it without a GPU"
        )
    if not torch.cuda.is_available():
        _refuse("torch finds no GPU here; --device emulator tries the benchmark itself without one")


def _refuse(problem: str) -> NoReturn:
    PROGRESS.print(f"error: {problem}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    app()
