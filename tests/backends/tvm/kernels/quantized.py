"""Quantized weights for tests of kernels, and what a product with them may differ from one in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from graphwright.ir import ops
from graphwright.ir.dialects.cpu.packed_weights import packed_parts
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.types import DType
from graphwright.ir.weights import Applied, StoredArray

Array = np.ndarray[Any, Any]
EPSILON = 2.0**-24
"""Half a unit in the last place of 1 in float32."""


@dataclass(frozen=True)
class Example:
    """A weight [outer, inner] of random numbers, rounded."""

    outer: int
    inner: int
    element: DType = DType.I4
    group: int = 0
    scale: DType = DType.F32
    tensor_scale: bool = False
    minimum: bool = False

    def expression(self) -> Applied:
        generator = torch.Generator().manual_seed(self.outer * self.inner)
        numbers = StoredArray.of(torch.randn(self.outer, self.inner, generator=generator) + 0.1)
        attributes = {
            "to": self.element,
            "group": self.group,
            "scale": self.scale,
            "tensor_scale": self.tensor_scale,
            "minimum": self.minimum,
        }
        return Applied.of(ops.round_to_nearest, (numbers,), attributes)


def packed_arrays(weight: Applied) -> list[Array]:
    """Codes, scales and, where there are some, zero points or minimums, as kernels take them."""
    return [each.evaluate().numpy() for each in packed_parts(weight).arrays.values()]


def exact_weight(weight: Applied) -> Array:
    """The numbers that it stands for."""
    value: Any = weight.evaluate()
    assert isinstance(value, QuantizedTensor)
    return value.dequantize(torch.float64).numpy()


def magnitudes(weight: Applied) -> Array:
    """The sizes of the terms that its numbers are sums of: of the minimum, and of what is above it."""
    value: Any = weight.evaluate()
    if value.minimums is None:
        return np.abs(exact_weight(weight))
    low = replace(value, scales=torch.zeros_like(value.scales)).dequantize(torch.float64).numpy()
    return np.abs(low) + np.abs(exact_weight(weight) - low)


def tokens(count: int, inner: int) -> Array:
    """Random numbers [count, inner] of many magnitudes; a row of zeros where there are several."""
    random = np.random.default_rng(count * inner)
    x = random.standard_normal((count, inner)) * np.exp(random.standard_normal((count, 1)))
    if count > 1:
        x[-1] = 0
    return x.astype(np.float32)


def rounded(x: Array, group: int) -> Array:
    """x as `fake_quantize` rounds it to i8."""
    return ops.fake_quantize.evaluate([torch.as_tensor(x)], {"to": DType.I8, "group": group}).numpy()
