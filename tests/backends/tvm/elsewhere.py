"""A decoder's steps for other machines, around which a program in C prints tokens on an emulated one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from graphwright.backends.tvm.linking import CROSS_COMPILER, Library, compiler, write_library
from graphwright.backends.tvm.lower import build_steps, plan_for_cpus
from graphwright.backends.tvm.targets import find_target
from graphwright.backends.weights_file import write_weights
from graphwright.compiling.lowering import lowered
from graphwright.compiling.targets import find_pipeline
from graphwright.ir import Program
from graphwright.passes import PIPELINES

HOST = Path(__file__).with_name("host.c")
STATIC = "aarch64-linux-musl"
"""With a C library that is linked in: this machine has none of the other's to load."""


class Elsewhere:
    """The one-row steps of a decoder for targets by name, over one file of weights, in a folder."""

    def __init__(self, program: Program, targets: Sequence[str], folder: Path, sizes: dict[str, int]) -> None:
        self.folder, self.targets = folder, targets
        self.sizes = [f"-D{name}={size}" for name, size in sizes.items()]
        after, _ = lowered(program, find_pipeline("cpu-tvm")[len(PIPELINES["cpu"]) :])
        graphs = [after.graphs[name] for name in ("decode_one_row", "prefill")]
        planned = plan_for_cpus(graphs, [find_target(name).cpu for name in targets], ahead=True)
        with ExitStack() as stack:
            for each in planned:
                stack.enter_context(closing(each.kernels))
            write_weights(folder / "weights", planned[0].weights, planned[0].layout)
            self._libraries = {name: build_steps(each, graphs) for name, each in zip(targets, planned, strict=True)}

    def library(self, target: str) -> Path:
        path = self.folder / f"{target}.so"
        if not path.exists():
            write_library(self._libraries[target], path)
        return path

    def tokens(self, target: str, prompt: Sequence[int], count: int, emulator: Sequence[str]) -> list[int]:
        """The likeliest tokens that follow, on a machine that the emulator's command stands for."""
        host = self._cross_linked(target) if find_target(target).cpu.triple else self._linked(target)
        command = [*emulator, str(host), str(self.folder / "weights"), str(count), *map(str, prompt)]
        return [int(word) for word in subprocess.run(command, capture_output=True, check=True).stdout.split()]

    def _linked(self, target: str) -> Path:
        host, library = self.folder / f"host_{target}", self.library(target)
        _run([*compiler(), *self._options(host), str(library), f"-Wl,-rpath,{self.folder}"])
        return host

    def _cross_linked(self, target: str) -> Path:
        library: Library = self._libraries[target]
        host, plans = self.folder / f"host_{target}", self.folder / "plans.c"
        plans.write_text(library.plans)
        objects = [self.folder / f"kernel_{number}.o" for number in range(len(library.kernels))]
        for path, code in zip(objects, library.kernels, strict=True):
            path.write_bytes(code)
        _run([*compiler(STATIC), "-static", *self._options(host), str(plans), *map(str, objects), "-pthread", "-lm"])
        return host

    def _options(self, host: Path) -> list[str]:
        return ["-O1", "-std=gnu11", *self.sizes, "-o", str(host), str(HOST)]


def emulator(machine: str) -> str:
    """Debian's emulator of programs for a kind of machine. Skips the test where there is none."""
    found = shutil.which(f"qemu-{machine}-static") or shutil.which(f"qemu-{machine}")
    if found is None:
        pytest.skip("there is no emulator of other CPUs: apt-get install -y qemu-user-static")
    return found


def require_cross_compiler() -> None:
    if find_spec(CROSS_COMPILER) is None:
        pytest.skip(f"there is no compiler for other machines: pip install {CROSS_COMPILER}")


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
