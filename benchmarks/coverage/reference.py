"""What the original module says, in float32 and in float64, and the bound on errors that follows from the two."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmarks.coverage.models import FIRST_TOKEN, LAST_TOKEN, call

LENGTHS = (28, 17, 9)
"""Tokens of the rows to test with: past every window, unlike what is traced."""
STEPS = 32
"""Tokens of the greedy continuation."""


@dataclass(frozen=True)
class Reference:
    """Logits [length, vocabulary] of some rows in float64, the bound on errors, and a greedy continuation.

    `bound` is four times eager float32's own distance from float64: our sums are as long, in another order. `gaps` are
    how far the likeliest token led at each step. `flips` tells whether float32 chose other experts than float64.
    """

    rows: list[Tensor]
    exact: list[Tensor]
    bound: float
    scale: float
    greedy: list[int]
    gaps: list[float]
    flips: bool
    nearest_tie: float


Call = Callable[[nn.Module, Tensor], Tensor]
"""Logits [B, S, vocabulary] of a model for token ids [B, S]."""


def reference(model: nn.Module, calls: Sequence[Call] = (call,) * len(LENGTHS)) -> Reference:
    """What a model says of the rows, each by its own call: those of an encoder-decoder have contexts."""
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(FIRST_TOKEN, LAST_TOKEN, (n,), generator=generator) for n in LENGTHS]
    with torch.no_grad():
        with _Choices() as single:
            eager = [each(model, row[None])[0] for each, row in zip(calls, rows, strict=True)]
        with float64(model) as double, _Choices() as choices:
            exact = [each(double, row[None])[0].double() for each, row in zip(calls, rows, strict=True)]
        greedy, gaps = _greedy(model, rows[-1], calls[-1])
    return Reference(
        rows=rows,
        exact=exact,
        bound=4 * worst(eager, exact),
        scale=max(float(e.std()) for e in exact),
        greedy=greedy,
        gaps=gaps,
        flips=len(single.made) != len(choices.made) or not all(map(torch.equal, single.made, choices.made)),
        nearest_tie=choices.nearest,
    )


def error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact.double()).abs().max())


def worst(found: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """The largest distance of any number; infinite where a shape or a number is wrong."""
    if [f.shape for f in found] != [e.shape for e in exact]:
        return float("inf")
    distances = [error(f, e) for f, e in zip(found, exact, strict=True)]
    return float("inf") if any(d != d for d in distances) else max(distances)


def _greedy(model: nn.Module, prompt: Tensor, call: Call) -> tuple[list[int], list[float]]:
    ids = prompt[None]
    tokens: list[int] = []
    gaps: list[float] = []
    for _ in range(STEPS):
        best = call(model, ids)[0, -1].topk(2)
        gaps.append(float(best.values[0] - best.values[1]))
        tokens.append(int(best.indices[0]))
        ids = torch.cat((ids, best.indices[None, :1]), 1)
    return tokens, gaps


@contextmanager
def float64(model: nn.Module) -> Generator[nn.Module]:
    """A copy of a model that computes in float64 while this lasts, also where its code names a narrower type."""
    double = copy.deepcopy(model).double()
    if hasattr(double, "set_experts_implementation"):
        # The grouped product that is the default has no float64; the plain loop over experts has.
        cast("Any", double).set_experts_implementation("eager")
    torch.set_default_dtype(torch.float64)
    try:
        with _Wide():
            yield double
    finally:
        torch.set_default_dtype(torch.float32)


class _Wide(TorchFunctionMode):
    """Takes every narrower float type that code names for float64."""

    NARROW = (torch.float32, torch.bfloat16, torch.float16)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        if func in (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16):
            func = torch.Tensor.double
        named = {name: self._widened(value) for name, value in (kwargs or {}).items()}
        return func(*map(self._widened, args), **named)

    def _widened(self, value: Any) -> Any:
        return torch.float64 if isinstance(value, torch.dtype) and value in self.NARROW else value


class _Choices(TorchFunctionMode):
    """Keeps which indices each top-k chose, and the nearest that a rejected value came to a chosen one, relatively."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Tensor] = []
        self.nearest: float = float("inf")

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.topk, Tensor.topk):
            values = cast("Tensor", args[0] if args else (kwargs or {})["input"])
            self.made.append(result.indices.sort(-1).values)
            count = result.values.shape[-1]
            if values.shape[-1] > count and (kwargs or {}).get("dim", -1) == -1:
                ordered = values.double().sort(-1, descending=True).values
                gaps = ordered[..., count - 1] - ordered[..., count]
                # Equal values are masked ones, whose order does not matter.
                gaps = gaps[gaps > 0] / ordered.abs().max()
                if gaps.numel():
                    self.nearest = min(self.nearest, float(gaps.min()))
        return result
