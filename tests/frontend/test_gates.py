"""Gates known by their values: every one that the IR has, and none that is only near one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphwright.frontend.gates import Gate, identify

INF = float("inf")


def split(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda h: function(*h.chunk(2, -1))


def alternating(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda h: function(h[..., ::2], h[..., 1::2])


def clamped(gate: Tensor, up: Tensor, alpha: float, limit: float, offset: float) -> Tensor:
    gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return gate * torch.sigmoid(alpha * gate) * (up + offset)


GATED: dict[str, tuple[Callable[[Tensor], Tensor], Gate]] = {
    "swiglu": (split(lambda g, u: F.silu(g) * u), Gate("silu", True)),
    "interleaved": (alternating(lambda g, u: F.silu(g) * u), Gate("silu", True, interleaved=True)),
    "geglu": (split(lambda g, u: F.gelu(g) * u), Gate("gelu", True)),
    "geglu tanh": (split(lambda g, u: F.gelu(g, approximate="tanh") * u), Gate("gelu_tanh", True)),
    "reglu": (split(lambda g, u: F.relu(g) * u), Gate("relu", True)),
    "sigmoid": (split(lambda g, u: g.sigmoid() * u), Gate("sigmoid", True)),
    "quick gelu": (split(lambda g, u: g * (1.702 * g).sigmoid() * u), Gate("silu", True, 1.702)),
    "gpt-oss": (alternating(lambda g, u: clamped(g, u, 1.702, 7.0, 1.0)), Gate("silu", True, 1.702, 7.0, 1.0, True)),
    "clamped silu": (split(lambda g, u: clamped(g, u, 1.0, 10.0, 0.0)), Gate("silu", True, 1.0, 10.0)),
    "long constants": (
        split(lambda g, u: clamped(g, u, 1.23456789, 3.14159265, 0.123456789)),
        Gate("silu", True, 1.23456789, 3.14159265, 0.123456789),
    ),
    "rounded inside": (
        split(lambda g, u: clamped(g.float(), u.float(), 1.702, 7.0, 1.0).double()),
        Gate("silu", True, 1.702, 7.0, 1.0),
    ),
}


@pytest.mark.parametrize("name", GATED)
def test_gated(name: str) -> None:
    units, wanted = GATED[name]
    assert identify(units, gated=True) == wanted


ALONE: dict[str, tuple[Callable[[Tensor], Tensor], Gate]] = {
    "silu": (F.silu, Gate("silu", False)),
    "gelu": (F.gelu, Gate("gelu", False)),
    "tanh": (torch.tanh, Gate("tanh", False)),
    "quick gelu": (lambda x: x * torch.sigmoid(1.702 * x), Gate("silu", False, 1.702)),
}


@pytest.mark.parametrize("name", ALONE)
def test_alone(name: str) -> None:
    units, wanted = ALONE[name]
    assert identify(units, gated=False) == wanted


UNKNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "clamped after": split(lambda g, u: F.silu(g).clamp(max=7) * u.clamp(-7, 7)),
    "clamped gate only": split(lambda g, u: F.silu(g.clamp(max=7)) * u),
    "clamped up only": split(lambda g, u: F.silu(g) * u.clamp(-7, 7)),
    "clamped below": split(lambda g, u: F.silu(g.clamp(-7, 7)) * u.clamp(-7, 7)),
    "two limits": split(lambda g, u: F.silu(g.clamp(max=6)) * u.clamp(-7, 7)),
    "scaled": split(lambda g, u: 2 * F.silu(g) * u),
    "swapped": split(lambda g, u: g * F.silu(u)),
    "squared": split(lambda g, u: F.relu(g).square() * u),
    "sum": split(lambda g, u: F.silu(g) + u),
    "mixing": split(lambda g, u: F.silu(g).flip(-1) * u),
    "constant": split(lambda g, u: torch.ones_like(g)),
    "nothing": split(lambda g, u: g * float("nan")),
    "of another size": lambda h: F.silu(h) * h,
    "nearly": split(lambda g, u: F.silu(g) * u * (1 + 1e-5)),
    "far out": split(lambda g, u: torch.where(g > 50, 0.0, F.silu(g)) * u),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown(name: str) -> None:
    assert identify(UNKNOWN[name], gated=True) is None


def test_an_unknown_activation() -> None:
    assert identify(lambda h: F.relu(h).square(), gated=False) is None
