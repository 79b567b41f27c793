"""Quantized types of fixed shape, spelt shortly."""

from __future__ import annotations

from typing import Any

from graphwright.ir import DType, QuantizedType, tensor


def of(element: DType, shape: tuple[int, ...], group: int | None, **options: Any) -> QuantizedType:
    """Codes of `element` in groups along the last axis; options are the type's other fields."""
    return QuantizedType(element, tensor("f32", *shape).shape, group, **options)
