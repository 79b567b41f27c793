"""Memory that a program reads and writes in place."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphwright.runtime.element_types import ELEMENT_TYPES, ElementTypeName
from graphwright.runtime.onnxruntime_api import OrtValue
from graphwright.runtime.session import Session

_ALIGNMENT = 64  # bytes: one cache line, and the widest vector load


class Buffer:
    """A zeroed tensor on the session's device.

    Zeros matter: the unused part of a cache is masked, not skipped, and zero times NaN is NaN.
    """

    def __init__(self, session: Session, shape: tuple[int, ...], dtype: ElementTypeName) -> None:
        element = ELEMENT_TYPES[dtype]
        self._host: np.ndarray[Any, Any] = _aligned_zeros(shape, element.storage)
        self.value: OrtValue = session.view(self._host, dtype)
        self._on_host = session.device == "cpu"
        if not self._on_host:
            zeros = self.value
            self.value = session.onnxruntime.OrtValue.ortvalue_from_shape_and_type(
                shape, element.onnx_number, session.device, 0
            )
            self.value.update_inplace(zeros)
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
        changed = self.value.numpy().copy()
        changed[chosen] = other.value.numpy()[chosen]
        self.value.update_inplace(changed)

    def clear_rows(self, rows: Sequence[int]) -> None:
        """Make whole rows (axis 0) zero."""
        chosen = list(rows)
        if self._on_host:
            self._host[chosen] = 0
            return
        changed = self.value.numpy().copy()
        changed[chosen] = 0
        self.value.update_inplace(changed)


def _aligned_zeros(shape: tuple[int, ...], storage: np.dtype[np.generic]) -> np.ndarray[Any, Any]:
    # The system hands out zeroed pages on first touch, so an unused tail of a cache costs no memory.
    size = int(np.prod(shape, dtype=np.int64)) * storage.itemsize
    raw = np.zeros(size + _ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(storage).reshape(shape)
