"""Tensors on a GPU, and arrays of the host's that go there and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphwright.runtime.cuda_api import Cuda
from graphwright.runtime.element_types import ELEMENT_TYPES, ElementTypeName
from graphwright.runtime.engines.engine import Array

BUCKETS = (1, 2, 4, 8, 16)
"""Batches that may have kernels of their own. A batch between two of them runs as the larger one."""


def bucket(rows: int) -> int:
    """The least bucket that holds so many rows; above all of them just as many."""
    return next((each for each in BUCKETS if each >= rows), rows)


class CudaValue:
    """A tensor on the device, of any content. `name` is for messages; no launch writes one that is `constant`.

    `batched`: axis 0 is the batch, and there is memory for as many rows as its bucket has.
    """

    def __init__(
        self,
        driver: Cuda,
        shape: tuple[int, ...],
        dtype: ElementTypeName,
        name: str,
        *,
        constant: bool = False,
        batched: bool = False,
    ) -> None:
        self._driver = driver
        self.shape = shape
        self.dtype: ElementTypeName = dtype
        self._storage = ELEMENT_TYPES[dtype].storage
        self.bytes = int(np.prod(shape, dtype=np.int64)) * self._storage.itemsize
        self.rows = bucket(shape[0]) if batched else shape[0] if shape else 1
        """Of axis 0, for which there is memory."""
        self.room = self.bytes // shape[0] * self.rows if batched else self.bytes
        self.address = driver.allocate(self.room, name, constant=constant)

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._driver.free(self.address)

    def numpy(self) -> Array:
        array = np.empty(self.shape, self._storage)
        with self._driver.active():
            self._driver.read(array, self.address)
        return array

    def update_inplace(self, data: Any) -> None:
        with self._driver.active():
            if isinstance(data, CudaValue):
                self._driver.copy(self.address, data.address, self.bytes)
            else:
                self._driver.write(self.address, np.ascontiguousarray(data, self._storage))

    def clear(self) -> None:
        """Makes all numbers zero, those of rows that are not used too."""
        with self._driver.active():
            self._driver.zero(self.address, self.room)

    def copy_rows(self, other: "CudaValue", rows: Sequence[int]) -> None:
        """Takes over whole rows (axis 0) of a value of the same shape and type, on the device."""
        size = self.bytes // self.shape[0]
        with self._driver.active():
            for row in rows:
                self._driver.copy(self.address + row * size, other.address + row * size, size)

    def clear_rows(self, rows: Sequence[int]) -> None:
        """Makes whole rows (axis 0) zero, on the device."""
        size = self.bytes // self.shape[0]
        with self._driver.active():
            for row in rows:
                self._driver.zero(self.address + row * size, size)


class HostValue:
    """An array of the host's: its content goes to the device where it is given, and comes from there after a run."""

    def __init__(self, array: Array, dtype: ElementTypeName) -> None:
        self.array = array
        self.dtype: ElementTypeName = dtype

    def numpy(self) -> Array:
        return self.array

    def update_inplace(self, data: Any) -> None:
        self.array[...] = data.numpy() if isinstance(data, CudaValue | HostValue) else data
