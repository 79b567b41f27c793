"""Where the time of a step goes on the CPU: `python -m benchmarks.step_profile`, or with `--tokens 512` of a prefill.

Compiles a shape into a library whose threads note when they come to each stage, runs steps of one row, and prints a
line for each kernel's stage, those of equal layers together: what it took, how long threads waited before it, how
long its bytes take at the bandwidth measured beside it, and how many operations it did in a second. The lines add up to
the library's part of the step. Numbers are means over the half of the steps that took neither least nor most.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import graphwright
from benchmarks.bandwidth import measured_bandwidth
from benchmarks.checkpoint import cache_folder, checkpoint
from benchmarks.command_line import chosen, errors_as_a_line
from benchmarks.peers.process import BenchmarkError
from benchmarks.shapes import SHAPES
from benchmarks.summary import machine
from graphwright.backends.interface import BackendOptions, Companions
from graphwright.backends.plan import Launch, Plan
from graphwright.backends.plan.parser import parse_plans
from graphwright.backends.tvm.backend import TvmBackend
from graphwright.backends.tvm.compile import LIBRARY_FILE, build_artifact
from graphwright.backends.tvm.region.plan_code import PROFILE
from graphwright.ir.convention import BATCH, CAPACITY, DECODE, POSITIONS, PREFILL, SEQUENCE
from graphwright.ir.pricing.graph_cost import declared_cost
from graphwright.ir.program import Program
from graphwright.ir.text import read_program
from graphwright.runtime import Decoder, KVCache
from graphwright.runtime.artifact import LOWERED_FILE, PLAN_FILE, Manifest
from graphwright.runtime.cores import available_cores
from graphwright.runtime.session import Session

WARM = 16
WARM_PREFILLS = 2
WHOLE = 0.9
"""The part of its stages that all threads must have run for a step to count: who slept joins a little late."""
_WIDTH = 170
_MICRO = 1e6
_HEADER = ("stages", "threads", "wall begin", "wall end", "ticks begin", "ticks end")


class ProfiledBackend(TvmBackend):
    """The backend `tvm` whose threads note when they come to each stage."""

    def build(self, program: Program, folder: Path, companions: Companions, options: BackendOptions) -> Manifest:
        """See `Backend.build`."""
        return build_artifact(program, folder, companions, profiled=True)


@dataclass(frozen=True)
class Times:
    """Of steps, seconds.

    `stamps` [steps, threads, stages, 3]: when a thread came to a stage, began with it and was done, from the step's
    begin; NaN where it took no part. `region` [steps] is the whole of each as its library sees it, and `step` [steps]
    as a caller does.
    """

    stamps: NDArray[np.float64]
    region: NDArray[np.float64]
    step: NDArray[np.float64]

    def middle(self) -> Times:
        """The half of the steps that took neither least nor most: what their means are made of still adds up."""
        count = len(self.step)
        chosen = np.argsort(self.region, kind="stable")[count // 4 : count - count // 4]
        return Times(self.stamps[chosen], self.region[chosen], self.step[chosen])

    @property
    def elapsed(self) -> NDArray[np.float64]:
        """[steps, stages]: from when the last thread was done with what came before, to when it was done with this."""
        done = np.maximum.accumulate(np.nanmax(self.stamps[..., 2], axis=1), axis=1)
        return np.diff(done, axis=1, prepend=0.0)

    @property
    def worked(self) -> NDArray[np.float64]:
        """[steps, threads, stages]."""
        return np.nan_to_num(self.stamps[..., 2] - self.stamps[..., 1])

    @property
    def waited(self) -> NDArray[np.float64]:
        """[steps, threads, stages]: before each stage."""
        return np.nan_to_num(self.stamps[..., 1] - self.stamps[..., 0])


@dataclass(frozen=True)
class Line:
    """Stages of one code, of all layers, in seconds a step: see `Times`. `waited` is the mean over threads."""

    name: str
    count: int
    waits: int
    bytes: int
    operations: int
    elapsed: float
    worked: tuple[float, ...]
    waited: float


def main(
    shape: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}.")] = "SmolLM2-135M",
    quantize: Annotated[str, typer.Option(help="A scheme; `none` is float32.")] = "w4a8-g128-rtn",
    context: Annotated[int | None, typer.Option(min=0, help="Tokens in the cache. By default 128, or 0.")] = None,
    tokens: Annotated[int, typer.Option(min=1, help="New tokens of a step; from 2 on they are a prefill.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="How many are measured. By default 200, or 10.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="By default one for each core.")] = None,
) -> None:
    """The stages of a step of one row, and what each takes."""
    out = Console(width=_WIDTH)
    count = threads or available_cores()
    context = (128 if tokens == 1 else 0) if context is None else context
    steps = steps or (200 if tokens == 1 else 10)
    with errors_as_a_line(), TemporaryDirectory() as temporary:
        (of,) = chosen(shape, SHAPES, "shape")
        folder = Path(temporary, "artifact")
        model = graphwright.compile(
            checkpoint(of, cache_folder()),
            output=folder,
            backend=ProfiledBackend(),
            quantize=None if quantize == "none" else quantize,
            threads=count,
        )
        plan = plan_of(folder, tokens)
        bandwidth = measured_bandwidth()
        times, left_out = measured(model.loaded.session, folder, plan, context, tokens, steps, count)
        bandwidth = max(bandwidth, measured_bandwidth())
        if not len(times.step):
            raise BenchmarkError(
                f"no step of {steps} ran on all {count} threads: end what else runs, or give --threads"
            )
    out.print(machine(), highlight=False)
    times = times.middle()
    # The middle one of the steps that are measured.
    past = context + WARM + steps // 2 if tokens == 1 else context
    lines = summed(plan, times, {BATCH: 1, SEQUENCE: tokens, POSITIONS: 1, CAPACITY: past + tokens})
    new = "" if tokens == 1 else f", {tokens} tokens"
    out.print(table(f"{shape} {quantize}, context {context}{new}, {count} threads", lines, times, bandwidth))
    if left_out:
        out.print(f"left out: {left_out} steps of {steps} that fewer threads ran", highlight=False)


def plan_of(folder: Path, tokens: int) -> Plan:
    """The plan of a step of so many tokens of one row."""
    text = (folder / PLAN_FILE).read_text(encoding="utf-8")
    plans = {plan.name: plan for plan in parse_plans(text, read_program(folder / LOWERED_FILE))}
    return plans[PREFILL] if tokens > 1 else plans.get(f"{DECODE}_one_row") or plans[DECODE]


def measured(
    session: Session, folder: Path, plan: Plan, context: int, tokens: int, steps: int, threads: int
) -> tuple[Times, int]:
    """The times of steps of `tokens` behind `context` tokens, and how many of them are left out as fewer threads ran
    them.

    Steps of one token follow each other, as in decoding; of several each is written over the last one.
    """
    library = ctypes.CDLL(str((folder / LIBRARY_FILE).resolve()))
    decodes = tokens == 1
    cache = KVCache(session, 1, context + (WARM + steps if decodes else tokens))
    decoder = Decoder(cache)

    def step(count: int, kept: bool) -> float:
        ids, length = np.zeros((1, count), np.int64), np.array([count], np.int64)
        began = time.perf_counter()
        decoder.step(ids, length, np.array([[count - 1]], np.int64))
        cache.advance(length if kept else np.zeros_like(length))
        return time.perf_counter() - began

    if context:
        step(context, kept=True)
    for _ in range(WARM if decodes else WARM_PREFILLS):
        step(tokens, decodes)
    stages = len([*plan.stages])
    stamps = np.empty((steps, threads, stages, 3))
    region, seconds = np.empty(steps), np.empty(steps)
    noted = [(step(tokens, decodes), Noted.of(library, threads, stages)) for _ in range(steps)]
    for number, (took, each) in enumerate(noted):
        stamps[number], region[number], seconds[number] = *each.seconds(), took
    counts = np.isfinite(stamps).all(axis=(1, 3)).mean(axis=1) >= WHOLE
    return Times(stamps[counts], region[counts], seconds[counts]), steps - int(counts.sum())


@dataclass(frozen=True)
class Noted:
    """What threads noted in the step that ran last: see `profile.c`."""

    header: dict[str, int]
    ticks: NDArray[np.int64]
    """[threads, stages, 3]."""

    @classmethod
    def of(cls, library: ctypes.CDLL, threads: int, stages: int) -> Noted:
        """A copy, made quickly: threads that wait long for the next step fall asleep."""
        numbers = (ctypes.c_int64 * len(_HEADER)).in_dll(library, PROFILE)
        header: dict[str, int] = dict(zip(_HEADER, numbers, strict=True))
        whole: Any = ctypes.c_int64 * (len(_HEADER) + 3 * header["stages"] * threads)
        table = np.ctypeslib.as_array(whole.in_dll(library, PROFILE))[len(_HEADER) :]
        return cls(header, table.reshape(threads, header["stages"], 3)[:, :stages].copy())

    def seconds(self) -> tuple[NDArray[np.float64], float]:
        """From the step's begin, as in `Times`, and those of the whole step."""
        wall = (self.header["wall end"] - self.header["wall begin"]) / 1e9
        tick = wall / (self.header["ticks end"] - self.header["ticks begin"])
        return np.where(self.ticks == 0, np.nan, (self.ticks - self.header["ticks begin"]) * tick), wall


def summed(plan: Plan, times: Times, symbols: dict[str, int]) -> list[Line]:
    """The lines of a plan, in the order in which their first stages run; `symbols` are the sizes of the step."""
    elapsed, worked, waited = (each.mean(axis=0) for each in (times.elapsed, times.worked, times.waited))
    bindings = plan.bindings({name: symbols[name] for name in plan.graph.symbols})
    numbered = [(launch, stage) for launch in plan.launches for stage in launch.stages]
    members: dict[str, list[int]] = {}
    for number, (_, stage) in enumerate(numbered):
        members.setdefault(stage.function, []).append(number)
    took = {function: float(elapsed[numbers].sum()) for function, numbers in members.items()}
    lines: list[Line] = []
    for function, numbers in members.items():
        launch, stage = numbered[numbers[0]]
        share = "one thread" if stage.extent is None else f"over {stage.extent.evaluate(bindings)}"
        place = f"stage {launch.stages.index(stage)} of {len(launch.stages)}"
        # What a launch reads and writes is counted by the stage of it that takes longest.
        counts = all(took[function] >= took[each.function] for each in launch.stages)
        lines.append(
            Line(
                f"{launch.op.name} {launch.op.results[0].type} {place}, {share}",
                len(numbers),
                sum(numbered[n][1].waits for n in numbers),
                sum(_bytes(numbered[n][0], bindings) for n in numbers) if counts else 0,
                sum(_operations(numbered[n][0], bindings) for n in numbers) if counts else 0,
                took[function],
                tuple(worked[:, numbers].sum(axis=1).tolist()),
                float(waited[:, numbers].mean(axis=0).sum()),
            )
        )
    return lines


def _bytes(launch: Launch, bindings: dict[str, int]) -> int:
    """What a launch's op says that it reads and writes."""
    cost = declared_cost(launch.op)
    return sum(size.evaluate(bindings) for size in (*cost.reads, *cost.writes)) // 8


def _operations(launch: Launch, bindings: dict[str, int]) -> int:
    """What a launch's op says that it computes."""
    return declared_cost(launch.op).flops.evaluate(bindings)


def table(title: str, lines: Sequence[Line], times: Times, bandwidth: float) -> Table:
    """Microseconds a step, a line for each kernel's stage, then what they add up to."""
    shown = Table(title=f"{title}; {bandwidth / 1e9:.1f} GB/s measured", title_justify="left")
    shown.add_column("stage", no_wrap=True, overflow="ellipsis", max_width=70)
    header = ("count", "waits", "µs", "waited µs", "worked µs by thread", "MB", "µs at bandwidth", "of it", "GOP/s")
    for column in header:
        shown.add_column(column, justify="right")

    def add(name: str, line: Line) -> None:
        least = line.bytes / bandwidth
        shown.add_row(
            name,
            str(line.count),
            str(line.waits),
            f"{line.elapsed * _MICRO:.1f}",
            f"{line.waited * _MICRO:.1f}",
            " ".join(f"{each * _MICRO:.0f}" for each in line.worked),
            f"{line.bytes / 1e6:.2f}",
            f"{least * _MICRO:.1f}",
            f"{least / line.elapsed:.0%}" if line.elapsed else "-",
            f"{line.operations / line.elapsed / 1e9:.1f}" if line.elapsed else "-",
        )

    for line in lines:
        add(line.name, line)
    shown.add_section()
    total = Line(
        "all stages",
        sum(line.count for line in lines),
        sum(line.waits for line in lines),
        sum(line.bytes for line in lines),
        sum(line.operations for line in lines),
        sum(line.elapsed for line in lines),
        tuple(np.sum([line.worked for line in lines], axis=0).tolist()),
        sum(line.waited for line in lines),
    )
    region, step = float(times.region.mean()), float(times.step.mean())
    add(total.name, total)
    for name, elapsed in (("the library's function", region), ("the step of a caller", step)):
        add(name, replace(total, count=1, waits=0, elapsed=elapsed))
    return shown


if __name__ == "__main__":
    typer.run(main)
