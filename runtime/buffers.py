"""Memory that a program reads and writes in place."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphwright.runtime.aligned import aligned_zeros
from graphwright.runtime.element_types import ELEMENT_TYPES, ElementTypeName
from graphwright.runtime.engines import CopiesRows, Engine, ManagesMemory, Value


class Buffer:
    """A zeroed tensor on the engine's device.

    Zeros matter: the unused part of a cache is masked, not skipped, and zero times NaN is NaN.
    """

    def __init__(self, engine: Engine, shape: tuple[int, ...], dtype: ElementTypeName) -> None:
        self._on_host = engine.on_host
        self._host: np.ndarray[Any, Any] = np.empty(0)
        self.value: Value
        if isinstance(engine, ManagesMemory):
            self.value = engine.zeros(shape, dtype, "a cache")
            return
        self._host = aligned_zeros(shape, ELEMENT_TYPES[dtype].storage)
        self.value = engine.place(self._host, dtype)
        if not self._on_host:
            self._host = np.empty(0)

    def copy_from(self, other: "Buffer", used: int) -> None:
        """Take over the first `used` positions (axis 2) of a buffer of the same shape, type and device."""
        if self._on_host:
            self._host[:, :, :used] = other._host[:, :, :used]
        else:
            self.value.update_inplace(other.value)

    def copy_rows(self, other: "Buffer", rows: Sequence[int]) -> None:
        """Take over whole rows (axis 0) of a buffer of the same shape, type and device."""
        chosen = list(rows)
        if self._on_host:
            self._host[chosen] = other._host[chosen]
            return
        if isinstance(self.value, CopiesRows):
            self.value.copy_rows(other.value, chosen)
            return
        changed = self.value.numpy().copy()
        changed[chosen] = other.value.numpy()[chosen]
        self.value.update_inplace(changed)

    def clear_rows(self, rows: Sequence[int]) -> None:
        """Make whole rows (axis 0) zero."""
        chosen = list(rows)
        if self._on_host:
            self._host[chosen] = 0
            return
        if isinstance(self.value, CopiesRows):
            self.value.clear_rows(chosen)
            return
        changed = self.value.numpy().copy()
        changed[chosen] = 0
        self.value.update_inplace(changed)
