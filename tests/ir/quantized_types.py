"""Quantized types of fixed shape, spelt shortly, and the numbers that quantized values stand for."""

from __future__ import annotations

from typing import Any

import torch

from graphwright.ir import DType, QuantizedType, tensor
from graphwright.ir.quantized import QuantizedTensor


def dequantized(value: torch.Tensor | QuantizedTensor, dtype: torch.dtype) -> torch.Tensor:
    """The numbers in that type where they are quantized, else as they are: references pass for tensors both."""
    return value.dequantize(dtype) if isinstance(value, QuantizedTensor) else value


def of(element: DType, shape: tuple[int, ...], group: int | None, **options: Any) -> QuantizedType:
    """Codes of `element` in groups along the last axis; options are the type's other fields."""
    return QuantizedType(element, tensor("f32", *shape).shape, group, **options)
