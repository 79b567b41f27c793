"""Weights that are numbers at all: a NaN or an infinity would spoil the scale of its group, and hide in it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graphwright.ir import Op, PassError, Weight
from graphwright.ir.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 1 << 20
"""Elements looked at together, so that they stay in the processor's cache."""


def require_finite(weight: Weight, layers: list[Op]) -> None:
    """Raises `PassError`, naming the weight and the module that reads it, where an element is not finite."""
    value = weight.evaluate()
    for number, part in enumerate(torch.split(value.reshape(-1), AT_ONCE)):
        # The extremes are finite exactly if all is: NaN wins every comparison.
        low, high = (float(extreme) for extreme in torch.aminmax(part.float()))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise PassError(_problem(weight, layers, value, number * AT_ONCE, part))


def _problem(weight: Weight, layers: list[Op], value: Tensor, start: int, part: Tensor) -> str:
    first = int(torch.nonzero(~torch.isfinite(part.float()))[0, 0])
    place = [int(i) for i in torch.unravel_index(torch.tensor(start + first), value.shape)]
    where = layers[0].location or layers[0].name
    return f"weight '{weight.name}' of {where} cannot be quantized: element {place} is {float(part[first])}"
