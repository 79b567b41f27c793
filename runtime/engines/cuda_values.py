"""Tensors on a GPU, and arrays of the host's that go there and back."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphwright.runtime.cuda_api import Cuda
from graphwright.runtime.element_types import ELEMENT_TYPES, ElementTypeName
from graphwright.runtime.engines.engine import Array


class CudaValue:
    """A tensor on the device, of any content. `name` is for messages; no launch writes one that is `constant`."""

    def __init__(
        self, driver: Cuda, shape: tuple[int, ...], dtype: ElementTypeName, name: str, *, constant: bool = False
    ) -> None:
        self._driver = driver
        self.shape = shape
        self.dtype: ElementTypeName = dtype
        self._storage = ELEMENT_TYPES[dtype].storage
        self.bytes = int(np.prod(shape, dtype=np.int64)) * self._storage.itemsize
        self.address = driver.allocate(self.bytes, name, constant=constant)

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
