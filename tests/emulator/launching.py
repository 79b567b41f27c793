"""Single launches on the emulator, through the runtime's own calls of the driver."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from graphwright.emulating.emulator import MAGIC
from graphwright.runtime.cuda_api import Cuda, Launch, argument_types
from tests.emulator.tiny import driver

COUNT, BLOCK = 40, 16
PROGRAMS = 3
ARRAYS = np.arange(COUNT, dtype=np.float32)


@dataclass(frozen=True)
class Launching:
    """A launch of a kernel `(x, y, COUNT)` over arrays of the device, ready to be spoiled."""

    driver: Cuda
    launch: Launch
    x: int
    y: int

    def run(self) -> npt.NDArray[np.float32]:
        """The output, when all is done."""
        with self.driver.active():
            self.driver.launch(self.launch)
            return self.result()

    def result(self) -> npt.NDArray[np.float32]:
        found = np.empty(COUNT, np.float32)
        self.driver.read(found, self.y)
        return found

    def changed(self, **changes: object) -> Launching:
        return replace(self, launch=replace(self.launch, **changes))  # pyright: ignore[reportArgumentType] - by name

    def valued(self, *values: int) -> Launching:
        return self.changed(values=values)


def image(kernel: str, *, written: Sequence[str] = ("y",), threads: int = 128, shared: int = 0) -> bytes:
    """What stands in for the machine code of a kernel of `tests.emulator.kernels`."""
    facts = {
        "symbol": kernel,
        "body": f"tests.emulator.kernels:{kernel}",
        "parameters": [("x", "*fp32"), ("y", "*fp32"), ("COUNT", "i32")],
        "constants": {"BLOCK": BLOCK, "PDL": False},
        "threads": threads,
        "shared": shared,
        "written": list(written),
    }
    return MAGIC + json.dumps(facts).encode() + b"\0"


@contextmanager
def launching(kernel: str, *, shared: int = 0) -> Generator[Launching]:
    """A launch as it should be."""
    _, cuda = driver()
    x, y = cuda.allocate(4 * COUNT, "numbers"), cuda.allocate(4 * COUNT, "results")
    try:
        with cuda.active():
            cuda.write(x, ARRAYS)
            function = cuda.function(cuda.module(image(kernel, shared=shared)), kernel, shared)
        types = argument_types(["pointer", "pointer", "i32"], 0)
        yield Launching(cuda, Launch(function, PROGRAMS, 128, shared, False, (x, y, COUNT), types), x, y)
    finally:
        cuda.free(x)
        cuda.free(y)
