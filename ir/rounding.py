"""Rounding to nearest: which scale a group gets, and which codes its numbers.

Works on groups laid out as [..., group]; `grouped` brings a tensor into that form and back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from graphwright.ir.lazy import torch
from graphwright.ir.quantized import QuantizedTensor, decoded
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import DType, QuantizedType

if TYPE_CHECKING:
    from torch import Tensor

Search = Literal["absmax", "mse"]
"""How a scale is chosen: so that the largest number fits, or so that the squared error is least."""

SHRINKS = tuple(1 - i / 20 for i in range(13))
"""How far a search for the least error cuts off the largest numbers: to 40 % of the range."""

AT_ONCE = 1 << 18
"""How many numbers are rounded at a time: what a search works on stays in the processor's cache, and memory small."""

_COARSE = (DType.F8E4M3, DType.F8E8M0)
"""Scales of so few bits that what is best before they are rounded says little."""

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

    def nearest(self, x: Tensor) -> Tensor:
        """What the nearest codes stand for, as numbers of x's type."""
        x = x.clamp(self.least, self.most)
        if self.element.is_integer:
            return x.round_()
        return _nearest_f4(x) if self.element is DType.F4E2M1 else x.to(torch_dtype(self.element)).to(x.dtype)

    def encode(self, x: Tensor) -> Tensor:
        """The nearest codes, ties to even, of numbers in units of the scale; what is out of range is cut off."""
        if self.element is DType.F4E2M1:
            return _f4_codes(self.nearest(x), x < 0)
        return self.nearest(x).to(torch_dtype(self.element))


def grouped(x: Tensor, group: int | None, axis: int = -1, *, repeats: bool = False) -> Tensor:
    """x with `axis` last and cut into groups: [..., groups, group].

    A last group that is cut short ends in zeros, or, if `repeats`, in its last number, which leaves its range alone.
    """
    moved = x.movedim(axis, -1)
    size = moved.shape[-1] if group is None else group
    missing = -moved.shape[-1] % size if size else 0
    if repeats and missing:
        padded = torch.cat([moved, moved[..., -1:].expand(*moved.shape[:-1], missing)], -1)
    else:
        padded = torch.nn.functional.pad(moved, (0, missing))
    return padded.reshape(*padded.shape[:-1], padded.shape[-1] // max(size, 1), size)


def ungrouped(groups: Tensor, length: int, axis: int = -1) -> Tensor:
    """The inverse of `grouped` for an axis of that length."""
    return groups.flatten(-2).narrow(-1, 0, length).movedim(-1, axis)


def fit(groups: Tensor, type: QuantizedType, search: Search, tensor_scale: Tensor | None = None) -> Scales:
    """Scales, zero points and minimums for groups [..., group] of floats, rounded to their stored types."""
    grid = Grid(type.element)
    extremes = _Extremes(groups, widened=not type.minimum)
    plain = _shrunk(extremes, type, tensor_scale)
    if search == "absmax":
        return plain
    tried = (
        _shrunk(extremes, type, tensor_scale, shrink, signed)
        for signed in ((False, True) if _takes_sides(type) else (False,))
        for shrink in SHRINKS
    )
    if type.scale_dtype in _COARSE:
        return _least_error([plain, *tried], groups, grid)
    return _least_error([plain, _least_squares(tried, groups, grid, type.scale_dtype, tensor_scale)], groups, grid)


def _takes_sides(type: QuantizedType) -> bool:
    """Whether it may matter to which side the one code more goes that signed integers have; scales then have signs."""
    return type.element.value[0] == "i" and type.element.bits <= 4 and type.scale_dtype is not DType.F8E8M0


def _least_error(tried: Sequence[Scales], groups: Tensor, grid: Grid) -> Scales:
    """Of each group those of the tried scales that make the least squared error; of equal ones the first."""
    best = tried[0]
    least = best.error(groups, grid)
    for each in tried[1:]:
        error = each.error(groups, grid)
        best = each.where(error < least, best)
        least = torch.minimum(error, least)
    return best


def _least_squares(
    tried: Iterable[Scales], groups: Tensor, grid: Grid, scale_dtype: DType, tensor_scale: Tensor | None
) -> Scales:
    """Scales fitted to the codes c that numbers x get from one that was tried: the error of x = s c is least at
    s = xc / cc, where it is xx - (xc)^2 / cc. So few need be tried. With a minimum m, the same holds of what codes and
    numbers differ from their means by, and m = mean(x) - s mean(c)."""
    found: Scales | None = None
    gain = torch.tensor(0.0)
    middle = groups.mean(-1, keepdim=True)
    around = groups - middle
    for each in tried:
        numbers, target, mean = each.numbers(groups, grid), groups, torch.tensor(0.0)
        if each.minimum is not None:
            mean = numbers.mean(-1, keepdim=True)
            numbers, target = numbers - mean, around
        square, along = numbers.square().sum(-1), (numbers * target).sum(-1)
        fits = torch.where(square == 0, 0.0, along / square)
        explained = along * fits
        scale = torch.where(fits == 0, each.scale, fits)
        minimum = None if each.minimum is None else (middle - scale.unsqueeze(-1) * mean).squeeze(-1)
        fitted = Scales(scale, each.zero, tensor_scale, minimum)
        found = fitted if found is None else fitted.where(explained > gain, found)
        gain = torch.maximum(explained, gain)
    assert found is not None
    scale = found.scale if tensor_scale is None else found.scale / tensor_scale
    minimum = None if found.minimum is None else _held(found.minimum, scale_dtype)
    return Scales(_as_stored(scale, scale_dtype), found.zero, tensor_scale, minimum)


@dataclass(frozen=True)
class Scales:
    """Of groups [..., group]: scale, zero point and minimum [...], as numbers of the groups' float type."""

    scale: Tensor
    zero: Tensor | None = None
    tensor_scale: Tensor | None = None
    minimum: Tensor | None = None

    @property
    def effective(self) -> Tensor:
        """What a code is multiplied by, [..., 1]."""
        scale = self.scale if self.tensor_scale is None else self.scale * self.tensor_scale
        return scale.unsqueeze(-1)

    def encode(self, groups: Tensor, grid: Grid) -> Tensor:
        units = self._above(groups) / self.effective
        # The zero point moves the grid by whole steps, so that zero itself stays exact.
        return grid.encode(units if self.zero is None else units.round_() + self.zero.unsqueeze(-1))

    def decode(self, codes: Tensor, grid: Grid) -> Tensor:
        numbers = decoded(codes, grid.element, self.scale.dtype)
        return self._from((numbers if self.zero is None else numbers - self.zero.unsqueeze(-1)) * self.effective)

    def _above(self, groups: Tensor) -> Tensor:
        """What numbers are more than the minimum."""
        return groups if self.minimum is None else groups - self.minimum.unsqueeze(-1)

    def _from(self, above: Tensor) -> Tensor:
        """The inverse of `_above`."""
        return above if self.minimum is None else above + self.minimum.unsqueeze(-1)

    def numbers(self, groups: Tensor, grid: Grid) -> Tensor:
        """The nearest numbers in units of the scale, zero points and minimums taken off."""
        units = self._above(groups) / self.effective
        if self.zero is None:
            return grid.nearest(units)
        zero = self.zero.unsqueeze(-1)
        return grid.nearest(units.round_() + zero) - zero

    def error(self, groups: Tensor, grid: Grid) -> Tensor:
        """The squared error of each group."""
        return (self._from(self.numbers(groups, grid) * self.effective) - groups).square_().sum(-1)

    def where(self, chosen: Tensor, other: Scales) -> Scales:
        """These where `chosen` [...], elsewhere the others."""
        zero, minimum = (
            None if mine is None or others is None else torch.where(chosen, mine, others)
            for mine, others in ((self.zero, other.zero), (self.minimum, other.minimum))
        )
        return Scales(torch.where(chosen, self.scale, other.scale), zero, self.tensor_scale, minimum)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Scales:
        """The same done to scale, zero point and minimum."""
        return Scales.joined([self], lambda parts: change(parts[0]))

    @classmethod
    def joined(cls, parts: Sequence[Scales], join: Callable[[list[Tensor]], Tensor]) -> Scales:
        """Those of several groups, put together."""
        scale, zero, minimum = (
            None if None in column else join([each for each in column if each is not None])
            for column in zip(*((each.scale, each.zero, each.minimum) for each in parts), strict=True)
        )
        assert scale is not None
        return cls(scale, zero, parts[0].tensor_scale, minimum)

    def quantized(self, codes: Tensor, type: QuantizedType) -> QuantizedTensor:
        """The weight of that type which codes make with these."""
        held, element = torch_dtype(type.scale_dtype), torch_dtype(type.element)
        zero_points = None if self.zero is None else self.zero.to(element)
        minimums = None if self.minimum is None else self.minimum.to(held)
        return QuantizedTensor(type, codes, self.scale.to(held), zero_points, self.tensor_scale, minimums)


def quantize(x: Tensor, type: QuantizedType, search: Search) -> QuantizedTensor:
    """x rounded to the nearest codes of the type; computed in float32, or x's own wider type."""
    numbers = x if x.dtype is torch.float64 else x.float()
    tensor_scale = whole_scale(numbers, type) if type.tensor_scale else None
    grid = Grid(type.element)
    moved = numbers.movedim(type.axis, -1)
    length = moved.shape[-1]
    codes: list[Tensor] = []
    scales: list[Scales] = []
    with _one_thread():
        for part in torch.split(moved.reshape(-1, length), max(1, AT_ONCE // max(length, 1))):
            groups = grouped(part, type.group, repeats=type.minimum)
            scales.append(fit(groups, type, search, tensor_scale))
            codes.append(ungrouped(scales[-1].encode(groups, grid), length).clone())

    def joined(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts).reshape(*moved.shape[:-1], -1).movedim(-1, type.axis)

    return Scales.joined(scales, joined).quantized(joined(codes), type)


@contextmanager
def _one_thread() -> Generator[None]:
    """While this lasts torch works on one thread: for many operations on little, where a second thread gains little.

    Threads meet after each operation. Beside other work, one waits there for another that is not running: on two busy
    cores a search took twelve times as long with two threads.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Extremes:
    """The largest numbers of groups, each found once however many scales are tried."""

    def __init__(self, groups: Tensor, *, widened: bool) -> None:
        self._groups = groups
        self._widened = widened

    @cached_property
    def range(self) -> tuple[Tensor, Tensor]:
        """The least and the greatest, widened to zero where that is asked for."""
        low, high = self._groups.amin(-1), self._groups.amax(-1)
        return (low.clamp(max=0), high.clamp(min=0)) if self._widened else (low, high)

    @cached_property
    def size(self) -> Tensor:
        """The largest size."""
        return self._groups.abs().amax(-1)

    @cached_property
    def furthest(self) -> Tensor:
        """The number of the largest size, with its sign."""
        return self._groups.gather(-1, self._groups.abs().argmax(-1, keepdim=True)).squeeze(-1)


def _shrunk(
    extremes: _Extremes, type: QuantizedType, tensor_scale: Tensor | None, shrink: float = 1.0, signed: bool = False
) -> Scales:
    """Scales at which `shrink` times the largest number of each group is the last that fits.

    If `signed`, it goes to the side of the one code more. With minimums the range shrinks towards its middle.
    """
    grid, zero, minimum = Grid(type.element), None, None
    if grid.least == 0:
        low, high = extremes.range
        cut = (high - low) * ((1 - shrink) / 2)
        low, high = (low + cut, high - cut) if type.minimum else (low * shrink, high * shrink)
        scale = (high - low) / grid.most
    elif signed:
        low, scale = None, extremes.furthest * shrink / grid.least
    else:
        low, scale = None, extremes.size * shrink / grid.most
    if tensor_scale is not None:
        scale = scale / tensor_scale
    scale = _as_stored(scale, type.scale_dtype)
    if type.minimum:
        assert low is not None, "codes with minimums are unsigned"
        minimum = _held(low, type.scale_dtype)
    elif low is not None:
        zero = (-low / scale).round().clamp(0, grid.most)
    return Scales(scale, zero, tensor_scale, minimum)


def _held(x: Tensor, dtype: DType) -> Tensor:
    """Numbers rounded to a float type, the largest that it holds in place of larger ones."""
    held = torch_dtype(dtype)
    limits = torch.finfo(held)
    return x.clamp(limits.min, limits.max).to(held).to(x.dtype)


def _as_stored(scale: Tensor, dtype: DType) -> Tensor:
    """Scales rounded to their stored type, and 1 for groups of zeros; powers of two are those at or above."""
    if dtype is DType.F8E8M0:
        stored = torch.exp2(torch.log2(scale.abs()).ceil().clamp(-127, 127))
    else:
        stored, limits = _held(scale, dtype), torch.finfo(torch_dtype(dtype))
        # What is too small for the type gets the smallest scale that it holds.
        smallest = torch.full_like(scale, limits.smallest_normal * limits.eps)
        stored = torch.where(stored == 0, smallest.copysign(scale), stored)
    return torch.where(scale == 0, torch.ones_like(stored), stored)


def whole_scale(x: Tensor, type: QuantizedType) -> Tensor:
    """The scale of the whole tensor with which the largest group's scale is the largest that its type holds."""
    limit = _MAXIMA.get(type.scale_dtype, 1.0) * Grid(type.element).most
    largest = x.abs().max() / limit
    return torch.where(largest == 0, torch.ones_like(largest), largest).float().to(x.dtype)


def _nearest_f4(x: Tensor) -> Tensor:
    """The nearest numbers of f4e2m1, ties to the even code: from 2 and from 4 on they lie twice as far apart."""
    size = x.abs()
    step = 0.5 + 0.5 * (size >= 2) + (size >= 4)
    return (x / step).round_() * step


def _f4_codes(numbers: Tensor, negative: Tensor) -> Tensor:
    """The codes of numbers of f4e2m1; zero has one of its own where it stands for a negative number."""
    size = numbers.abs()
    code = torch.where(size < 2, size * 2, torch.where(size < 4, size + 2, size / 2 + 4))
    return code.to(torch.uint8) + 8 * negative.to(torch.uint8)
