"""What an interpreted kernel loads and stores: where it may, and when.

A GPU tells of a wrong address only where nothing is mapped, and of a wait that is missing never.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from graphwright.emulating.interpreter import Argument, Region


class WrongAccess(Exception):
    """A load or store outside of what the launch was given, or too early."""


class _Watch:
    """One launch. A kernel of an early start has to wait before it touches what other launches write."""

    def __init__(self, base: int, arguments: Sequence[Argument], written: frozenset[str], waits: bool) -> None:
        self._pointers = [(a, a.region) for a in arguments if a.region is not None]
        self._base, self._written, self._waits = base, written, waits
        self._program, self._waited = -1, not waits

    def begin(self) -> None:
        """Another program of the grid begins."""
        self.end()
        self._program, self._waited = self._program + 1, not self._waits

    def wait(self) -> None:
        self._waited = True

    def end(self) -> None:
        if self._program >= 0 and not self._waited:
            raise WrongAccess("it does not wait for the launches before it")

    def touch(self, addresses: npt.NDArray[Any], mask: npt.NDArray[Any], size: int, *, store: bool) -> None:
        """Looks at the addresses, of `size` bytes each, where the mask is set."""
        touched = addresses[np.broadcast_to(mask, addresses.shape).astype(bool)]
        if not touched.size:
            return
        first, last = int(touched.min()) - self._base, int(touched.max()) - self._base + size
        verb = "writes" if store else "reads"
        inside = [(a, r) for a, r in self._pointers if r.begin <= first and last <= r.begin + r.bytes]
        if not inside:
            raise WrongAccess(f"it {verb} {self._outside(first, last)}")
        if store and self._written and not any(a.name in self._written for a, _ in inside):
            raise WrongAccess(f"it writes {_named(*inside[0])}, which the plan says it only reads")
        if not self._waited and not any(r.constant for _, r in inside):
            raise WrongAccess(f"it {verb} {_named(*inside[0])} before it waits for the launches before it")

    def _outside(self, first: int, last: int) -> str:
        """Where the addresses are, beside the buffer that they are nearest to."""

        def distance(region: Region) -> int:
            return max(region.begin - first, 0) + max(last - region.begin - region.bytes, 0)

        if not self._pointers:
            return "memory, and has no buffers"
        argument, region = min(self._pointers, key=lambda each: distance(each[1]))
        before, behind = region.begin - first, last - region.begin - region.bytes
        where = f"{before} bytes in front of" if before > 0 else f"{behind} bytes behind the end of"
        return f"{where} {_named(argument, region)} of {region.bytes} bytes"


def _named(argument: Argument, region: Region) -> str:
    return f"`{argument.name}`" + (f" ({region.name})" if region.name else "")


@contextmanager
def watched(
    base: int, arguments: Sequence[Argument], written: frozenset[str], *, waits: bool, first: int
) -> Generator[None]:
    """Looks at each load, store and wait of the launch that is interpreted inside, whose programs are those from
    `first` on."""
    interpreter: Any = import_module("triton.runtime.interpreter")
    cuda: Any = import_module("triton.language").extra.cuda
    builder, watch = interpreter.interpreter_builder, _Watch(base, arguments, written, waits)
    native, set_size, set_place = interpreter._interpreter, builder.set_grid_dim, builder.set_grid_idx

    class Native:
        """What loads and stores by address, beside everything else of it."""

        def __getattr__(self, name: str) -> Any:
            return getattr(native, name)

        def load(self, addresses: Any, mask: Any, other: Any, dtype: Any) -> Any:
            watch.touch(addresses, mask, np.dtype(dtype).itemsize, store=False)
            return native.load(addresses, mask, other, dtype)

        def store(self, addresses: Any, values: Any, mask: Any) -> Any:
            watch.touch(addresses, mask, values.dtype.itemsize, store=True)
            return native.store(addresses, values, mask)

        def atomic_rmw(self, kind: Any, addresses: Any, values: Any, mask: Any, order: Any) -> Any:
            watch.touch(addresses, mask, values.dtype.itemsize, store=True)
            return native.atomic_rmw(kind, addresses, values, mask, order)

    def sized(x: int, y: int, z: int) -> None:
        set_size(first + x, y, z)

    def placed(x: int, y: int, z: int) -> None:
        watch.begin()
        set_place(first + x, y, z)

    def wait() -> None:
        watch.wait()

    def start() -> None:
        """Others may begin, which nobody here sees."""

    before = cuda.gdc_wait, cuda.gdc_launch_dependents
    interpreter._interpreter, builder.set_grid_dim, builder.set_grid_idx = Native(), sized, placed
    cuda.gdc_wait, cuda.gdc_launch_dependents = wait, start
    try:
        yield
        watch.end()
    finally:
        interpreter._interpreter, builder.set_grid_dim, builder.set_grid_idx = native, set_size, set_place
        cuda.gdc_wait, cuda.gdc_launch_dependents = before
