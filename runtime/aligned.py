"""Arrays whose memory begins where vector loads and cache lines do."""

from typing import Any

import numpy as np
import numpy.typing as npt

ALIGNMENT = 64
"""Bytes: one cache line, and the widest vector load."""


def aligned_zeros(shape: tuple[int, ...], storage: npt.DTypeLike) -> npt.NDArray[Any]:
    # The system hands out zeroed pages on first touch, so an unused tail of a cache costs no memory.
    return _aligned(np.zeros(_bytes(shape, storage) + ALIGNMENT, dtype=np.uint8), shape, storage)


def aligned_empty(shape: tuple[int, ...], storage: npt.DTypeLike) -> npt.NDArray[Any]:
    return _aligned(np.empty(_bytes(shape, storage) + ALIGNMENT, dtype=np.uint8), shape, storage)


def aligned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`array` if it is aligned, dense and may be written to, else a copy of it that is."""
    flags = array.flags
    if flags.c_contiguous and flags.writeable and array.ctypes.data % ALIGNMENT == 0:
        return array
    copy = aligned_empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def _bytes(shape: tuple[int, ...], storage: npt.DTypeLike) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(storage).itemsize


def _aligned(raw: npt.NDArray[np.uint8], shape: tuple[int, ...], storage: npt.DTypeLike) -> npt.NDArray[Any]:
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + _bytes(shape, storage)].view(storage).reshape(shape)
