"""Rounding to nearest: which scale a group gets, and which codes its numbers.

Works on groups laid out as [..., group]; `grouped` brings a tensor into that form and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from graphwright.ir.lazy import torch
from graphwright.ir.quantized import F4E2M1_VALUES, QuantizedTensor, decoded
from graphwright.ir.types import DType, QuantizedType
from graphwright.ir.weights import torch_dtype

if TYPE_CHECKING:
    from torch import Tensor

Search = Literal["absmax", "mse"]
"""How a scale is chosen: so that the largest number fits, or so that the squared error is least."""

SHRINKS = tuple(1 - i / 40 for i in range(25))
"""How far a search for the least error cuts off the largest numbers: to 40 % of the range."""

_MAXIMA = {DType.F8E4M3: 448.0, DType.F8E5M2: 57344.0, DType.F4E2M1: 6.0}


@dataclass(frozen=True)
class Grid:
    """The codes of an element type as numbers on a line from `least` to `most`."""

    element: DType

    @property
    def most(self) -> float:
        if self.element.is_float:
            return _MAXIMA[self.element]
        return float((1 << (self.element.bits - (self.element.value[0] == "i"))) - 1)

    @property
    def least(self) -> float:
        if self.element.is_float:
            return -self.most
        return -(self.most + 1) if self.element.value[0] == "i" else 0.0

    def encode(self, x: Tensor) -> Tensor:
        """The nearest codes, ties to even, of numbers in units of the scale; what is out of range is cut off."""
        x = x.clamp(self.least, self.most)
        if self.element is DType.F4E2M1:
            return _nearest_f4(x)
        return (x.round() if self.element.is_integer else x).to(torch_dtype(self.element))


def grouped(x: Tensor, group: int | None, axis: int = -1) -> Tensor:
    """x with `axis` last and cut into groups: [..., groups, group]; a last group that is cut short ends in zeros."""
    moved = x.movedim(axis, -1)
    size = moved.shape[-1] if group is None else group
    padded = torch.nn.functional.pad(moved, (0, -moved.shape[-1] % size)) if size else moved
    return padded.reshape(*padded.shape[:-1], padded.shape[-1] // max(size, 1), size)


def ungrouped(groups: Tensor, length: int, axis: int = -1) -> Tensor:
    """The inverse of `grouped` for an axis of that length."""
    return groups.flatten(-2).narrow(-1, 0, length).movedim(-1, axis)


def fit(groups: Tensor, type: QuantizedType, search: Search, tensor_scale: Tensor | None = None) -> Scales:
    """Scales and zero points for groups [..., group] of floats, rounded to the types that they are stored in."""
    grid = Grid(type.element)
    candidates = [
        _absmax(groups, grid, type.scale_dtype, tensor_scale, shrink, signed) for shrink, signed in _tries(type, search)
    ]
    best = candidates[0]
    if len(candidates) > 1:
        least = best.error(groups, grid)
        for candidate in candidates[1:]:
            error = candidate.error(groups, grid)
            better = error < least
            best = Scales(
                torch.where(better, candidate.scale, best.scale),
                None if best.zero is None or candidate.zero is None else torch.where(better, candidate.zero, best.zero),
                tensor_scale,
            )
            least = torch.where(better, error, least)
    return best


@dataclass(frozen=True)
class Scales:
    """Of groups [..., group]: scale and zero point [...], as numbers of the groups' float type."""

    scale: Tensor
    zero: Tensor | None
    tensor_scale: Tensor | None = None

    @property
    def effective(self) -> Tensor:
        """What a code is multiplied by, [..., 1]."""
        scale = self.scale if self.tensor_scale is None else self.scale * self.tensor_scale
        return scale.unsqueeze(-1)

    def encode(self, groups: Tensor, grid: Grid) -> Tensor:
        units = groups / self.effective
        # The zero point moves the grid by whole steps, so that zero itself stays exact.
        return grid.encode(units if self.zero is None else units.round() + self.zero.unsqueeze(-1))

    def decode(self, codes: Tensor, grid: Grid) -> Tensor:
        numbers = decoded(codes, grid.element, self.scale.dtype)
        return (numbers if self.zero is None else numbers - self.zero.unsqueeze(-1)) * self.effective

    def error(self, groups: Tensor, grid: Grid) -> Tensor:
        """The squared error of each group."""
        return (self.decode(self.encode(groups, grid), grid) - groups).square().sum(-1)


def quantize(x: Tensor, type: QuantizedType, search: Search) -> QuantizedTensor:
    """x rounded to the nearest codes of the type; computed in float32, or x's own wider type."""
    numbers = x if x.dtype is torch.float64 else x.float()
    groups = grouped(numbers, type.group, type.axis)
    tensor_scale = _tensor_scale(numbers, type) if type.tensor_scale else None
    scales = fit(groups, type, search, tensor_scale)
    codes = ungrouped(scales.encode(groups, Grid(type.element)), numbers.shape[type.axis], type.axis)
    zeros = None if scales.zero is None else scales.zero.movedim(-1, type.axis).to(torch_dtype(type.element))
    scale = scales.scale.movedim(-1, type.axis).to(torch_dtype(type.scale_dtype))
    return QuantizedTensor(type, codes, scale, zeros, tensor_scale)


def _tries(type: QuantizedType, search: Search) -> list[tuple[float, bool]]:
    """How far to cut off, and whether the larger side gets the one code more that signed integers have."""
    shrinks = SHRINKS if search == "mse" else (1.0,)
    sides = (False, True) if search == "mse" and type.element.value[0] == "i" else (False,)
    return [(shrink, signed) for signed in sides for shrink in shrinks]


def _absmax(
    groups: Tensor, grid: Grid, scale_dtype: DType, tensor_scale: Tensor | None, shrink: float, signed: bool
) -> Scales:
    zero = None
    if grid.least == 0:
        low, high = groups.amin(-1).clamp(max=0) * shrink, groups.amax(-1).clamp(min=0) * shrink
        scale = (high - low) / grid.most
    elif signed:
        largest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True)).squeeze(-1)
        low, scale = None, largest * shrink / grid.least
    else:
        low, scale = None, groups.abs().amax(-1) * shrink / grid.most
    if tensor_scale is not None:
        scale = scale / tensor_scale
    scale = _as_stored(scale, scale_dtype)
    if low is not None:
        zero = (-low / scale).round().clamp(0, grid.most)
    return Scales(scale, zero, tensor_scale)


def _as_stored(scale: Tensor, dtype: DType) -> Tensor:
    """Scales rounded to their stored type, and 1 for groups of zeros; powers of two are those at or above."""
    if dtype is DType.F8E8M0:
        stored = torch.exp2(torch.log2(scale.abs()).ceil().clamp(-127, 127))
    elif dtype is DType.F8E4M3:
        stored = scale.clamp(-_MAXIMA[dtype], _MAXIMA[dtype]).to(torch_dtype(dtype)).to(scale.dtype)
    else:
        stored = scale.to(torch_dtype(dtype)).to(scale.dtype)
    return torch.where((scale == 0) | (stored == 0), torch.ones_like(stored), stored)


def _tensor_scale(x: Tensor, type: QuantizedType) -> Tensor:
    """So that the largest group's scale is the largest that its type holds."""
    limit = _MAXIMA.get(type.scale_dtype, 1.0) * Grid(type.element).most
    largest = x.abs().max() / limit
    return torch.where(largest == 0, torch.ones_like(largest), largest).float().to(x.dtype)


def _nearest_f4(x: Tensor) -> Tensor:
    """Codes of f4e2m1, ties to the even code."""
    magnitudes = torch.tensor(F4E2M1_VALUES[:8], dtype=x.dtype)
    bounds = (magnitudes[1:] + magnitudes[:-1]) / 2
    size = x.abs()
    # A number on the bound above code i goes to whichever of i and i + 1 is even.
    code = torch.bucketize(size, bounds)
    on_bound = (code < 7) & (size == bounds[code.clamp(max=6)]) & (code % 2 == 1)
    return ((code + on_bound.long()) + 8 * (x < 0).long()).to(torch.uint8)
