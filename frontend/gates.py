"""Identifies what a gated unit computes by evaluating it, whatever its code looks like."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import get_args

import torch

from graphwright.ir.ops.experts import gate_units
from graphwright.ir.ops.neural import Activation

Units = Callable[[torch.Tensor], torch.Tensor]
"""From rows of pre-activations (gate and up, twice as long as the result, or up alone) to rows of activations."""

KINDS: tuple[Activation, ...] = tuple(kind for kind in get_args(Activation) if kind != "quick_gelu")
"""quick_gelu is silu with an alpha of 1.702, and said so."""

PRECISIONS = ((12, 1e-11), (5, 1e-6))
"""Digits of constants, and how far off a value may be relative to its operands: of gates that compute as they are asked
to, and of those that round to float32 inside. There the shortest constants that fit are meant."""

SMALL, HUGE = 0.125, 1e30
"""A pre-activation below every clamp, and one above."""


@dataclass(frozen=True)
class Gate:
    """The attributes of `moe_experts` that say what happens between its products, and how gate and up are laid out."""

    kind: Activation
    gated: bool
    alpha: float = 1.0
    limit: float = math.inf
    up_offset: float = 0.0
    interleaved: bool = False
    """Whether gate and up alternate, instead of standing one after the other."""

    def apply(self, h: torch.Tensor) -> torch.Tensor:
        """The activations of h, in which gate stands before up."""
        return gate_units(h, self.kind, self.gated, self.alpha, self.limit, self.up_offset)


def identify(units: Units, *, gated: bool) -> Gate | None:
    """The gate that `units` computes at thousands of points in float64, or None if it is none that the IR has."""
    alone = (*(Gate(kind, False) for kind in KINDS), Gate("silu", False, alpha=1.702))
    for digits, tolerance in PRECISIONS:
        for interleaved in (False, True) if gated else (False,):
            for candidate in _candidates(units, interleaved, digits) if gated else alone:
                if _agrees(units, candidate, tolerance):
                    return candidate
    return None


def _candidates(units: Units, interleaved: bool, digits: int) -> Iterator[Gate]:
    """Gates with the constants that can be read off few values: up enters linearly between its clamps."""
    at_zero, at_small, at_huge = (_value(units, interleaved, SMALL, up) for up in (0.0, SMALL, HUGE))
    slope = (at_small - at_zero) / SMALL
    if not math.isfinite(slope) or slope == 0:
        return
    offset = _short(at_zero / slope, digits)
    limit = _short(at_huge / slope - offset, digits)
    plain = Gate("silu", True, limit=math.inf if limit > HUGE / 2 else limit, up_offset=offset, interleaved=interleaved)
    if not plain.limit > 0:
        return
    for kind in KINDS:
        yield replace(plain, kind=kind)
    share = slope / SMALL
    if 0 < share < 1:
        yield replace(plain, alpha=_short(math.log(share / (1 - share)) / SMALL, digits))


def _short(value: float, digits: int) -> float:
    """Without the last digits, which rounding spoils."""
    return float(f"{value:.{digits}g}")


def _value(units: Units, interleaved: bool, gate: float, up: float) -> float:
    g, u = torch.full((1, 4), gate, dtype=torch.float64), torch.full((1, 4), up, dtype=torch.float64)
    return float(units(_laid_out(g, u, interleaved)).flatten()[0])


def _laid_out(gate: torch.Tensor, up: torch.Tensor, interleaved: bool) -> torch.Tensor:
    return torch.stack([gate, up], -1).flatten(-2) if interleaved else torch.cat([gate, up], -1)


def _agrees(units: Units, candidate: Gate, tolerance: float) -> bool:
    generator = torch.Generator().manual_seed(0)
    reach = torch.tensor([[0.1], [1.0], [10.0], [100.0]], dtype=torch.float64)
    edge = candidate.limit if math.isfinite(candidate.limit) else 1.0

    def points() -> torch.Tensor:
        spread = torch.randn(4, 1024, generator=generator, dtype=torch.float64) * reach
        return torch.cat([spread, spread * 0.5 * edge], 0)

    gate, up = points(), points()
    given = _laid_out(gate, up, candidate.interleaved) if candidate.gated else gate
    wanted = candidate.apply(torch.cat([gate, up], -1) if candidate.gated else gate)
    found = units(given)
    if found.shape != wanted.shape:
        return False
    scale = (gate.abs() + 1) * (up.abs() + 1 + abs(candidate.up_offset) if candidate.gated else 1)
    return bool(((found - wanted).abs() <= tolerance * scale).all())
