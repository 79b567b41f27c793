"""What a quantized weight holds: codes, scales, zero points or minimums; and how groups are laid over an axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir.lazy import torch
from graphwright.ir.types import DType, QuantizedType

if TYPE_CHECKING:
    from torch import Tensor
    from torch import dtype as TorchDType

F4E2M1_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
"""What each of the sixteen codes of f4e2m1 stands for (OCP Microscaling Formats 1.0, section 5.3.3)."""


@dataclass(frozen=True, eq=False)
class Parts:
    """What a quantized tensor is put together from, before it is said what its codes mean."""

    codes: Tensor
    scales: Tensor
    zero_points: Tensor | None = None
    tensor_scale: Tensor | None = None
    minimums: Tensor | None = None

    def typed(self, type: QuantizedType) -> QuantizedTensor:
        return QuantizedTensor(type, self.codes, self.scales, self.zero_points, self.tensor_scale, self.minimums)


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """The value of a quantized type.

    `codes` has the type's shape, elements as torch holds them: int8 or uint8 for integers of fewer bits, uint8 bit
    patterns for f4e2m1. `scales`, and `zero_points` or `minimums` where the type has them, have `type.scale_shape`;
    `tensor_scale` has no axes.
    """

    type: QuantizedType
    codes: Tensor
    scales: Tensor
    zero_points: Tensor | None = None
    tensor_scale: Tensor | None = None
    minimums: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.codes.shape)

    def numel(self) -> int:
        return self.codes.numel()

    def dequantize(self, dtype: TorchDType) -> Tensor:
        """The values in that type: (code - zero point) * (scale * tensor scale) + minimum, computed in it."""
        codes = decoded(self.codes, self.type.element, dtype)
        if self.zero_points is not None:
            codes = codes - self._spread(self.zero_points.to(dtype))
        scales = self.scales.to(dtype)
        if self.tensor_scale is not None:
            scales = scales * self.tensor_scale.to(dtype)
        values = codes * self._spread(scales)
        return values if self.minimums is None else values + self._spread(self.minimums.to(dtype))

    def rows(self, indices: Tensor) -> QuantizedTensor:
        """The rows at the indices [n] of the first axis, which must not be the grouped one."""

        def rows(part: Tensor) -> Tensor:
            # A float8 tensor cannot be indexed, its bytes can.
            return part[indices] if part.element_size() > 1 else part.view(torch.uint8)[indices].view(part.dtype)

        zero_points, minimums = (None if part is None else rows(part) for part in (self.zero_points, self.minimums))
        return QuantizedTensor(self.type, rows(self.codes), rows(self.scales), zero_points, self.tensor_scale, minimums)

    def _spread(self, per_group: Tensor) -> Tensor:
        """One number a group, as one a code."""
        axis, group = self.type.axis % self.type.rank, self.type.group
        if group is None:
            return per_group
        return per_group.repeat_interleave(group, axis).narrow(axis, 0, self.codes.shape[axis])


def decoded(codes: Tensor, element: DType, dtype: TorchDType) -> Tensor:
    """Codes as numbers of a torch type."""
    if element is DType.F4E2M1:
        return torch.tensor(F4E2M1_VALUES, dtype=dtype)[codes.long()]
    return codes.to(dtype)
