"""Arrays whose memory begins where vector loads and cache lines do, and how much memory there is at all."""

import math
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@cache
def total_memory(system: Path = Path("/sys")) -> int:
    """Bytes of the machine's memory, held to the container's bound on it; nothing larger can ever be had at once."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):
        total = min(total, int((system / "fs/cgroup/memory.max").read_text()))
    return total


ALIGNMENT = 64
"""Bytes: one cache line, and the widest vector load."""


def aligned_zeros(shape: tuple[int, ...], storage: npt.DTypeLike) -> npt.NDArray[Any]:
    # The system hands out zeroed pages on first touch, so an unused tail of a cache costs no memory.
    return _aligned(_raw(shape, storage, np.zeros), shape, storage)


def aligned_empty(shape: tuple[int, ...], storage: npt.DTypeLike) -> npt.NDArray[Any]:
    return _aligned(_raw(shape, storage, np.empty), shape, storage)


def aligned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`array` if it is aligned, dense and may be written to, else a copy of it that is."""
    flags = array.flags
    if flags.c_contiguous and flags.writeable and array.ctypes.data % ALIGNMENT == 0:
        return array
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def _bytes(shape: tuple[int, ...], storage: npt.DTypeLike) -> int:
    return math.prod(shape) * np.dtype(storage).itemsize


def _raw(shape: tuple[int, ...], storage: npt.DTypeLike, make: Callable[..., npt.NDArray[np.uint8]]) -> Any:
    """Bytes for such an array, with room to align it. Raises MemoryError where the machine has not so many."""
    size = _bytes(shape, storage)
    if size > total_memory():
        raise MemoryError(f"an array of {size} bytes")
    return make(size + ALIGNMENT, dtype=np.uint8)


def _aligned(raw: npt.NDArray[np.uint8], shape: tuple[int, ...], storage: npt.DTypeLike) -> npt.NDArray[Any]:
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + _bytes(shape, storage)].view(storage).reshape(shape)
