"""What is remembered of the inputs that a product saw: enough to weigh errors by, and of fixed size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class InputStatistics:
    """Of the vectors x [size] that a linear layer read, over all calibration tokens.

    `second_moment` f32 [size, size] is the sum of x xᵀ, so the squared error that a change D [out, size] of the weight
    makes is trace(D second_moment Dᵀ); `total_magnitude` and `largest` f32 [size] are sum and maximum of |x|; `count`
    says how many vectors there were.
    """

    second_moment: Tensor
    total_magnitude: Tensor
    largest: Tensor
    count: int = 0

    @classmethod
    def empty(cls, size: int) -> InputStatistics:
        return cls(torch.zeros(size, size), torch.zeros(size), torch.zeros(size))

    @property
    def mean_magnitude(self) -> Tensor:
        return self.total_magnitude / max(self.count, 1)

    def add(self, x: Tensor) -> None:
        """Takes vectors x [..., size]."""
        rows = x.reshape(-1, x.shape[-1]).float()
        self.second_moment.addmm_(rows.T, rows)
        self.total_magnitude += rows.abs().sum(0)
        torch.maximum(self.largest, rows.abs().amax(0), out=self.largest)
        self.count += rows.shape[0]
