"""SmoothQuant: what is hard to round in the inputs of linear layers is moved into their weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphwright.ir import Op, PassError, Program
from graphwright.ir.lazy import torch
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import Pass, register
from graphwright.passes.quantization.calibrated_folds import Layers, calibrated_folds
from graphwright.passes.quantization.weight_folds import ChannelFold, WeightChanges

if TYPE_CHECKING:
    from torch import Tensor

RULE = "smooth-quant"
SMALLEST = 1e-5


@register
@dataclass(frozen=True)
class SmoothQuant(Pass):
    """Scales the inputs of linear layers so that their largest numbers are nearer to each other's, channel by channel.

    Channel j is divided by max|x_j|^alpha / max|w_j|^(1 - alpha), over the calibration tokens and over the weights that
    read it, which take the factor (Xiao et al. 2023, eq. 4). Nothing is rounded yet.
    """

    name: ClassVar[str] = "smooth-quant"
    findings: ClassVar[tuple[str, ...]] = (RULE,)
    tokens: str = ""
    alpha: float = 0.5
    layers: Layers = "all"

    def run(self, program: Program) -> Outcome:
        if not 0 <= self.alpha <= 1:
            raise PassError(f"smooth-quant: alpha is {self.alpha}, expected a number from 0 to 1")
        outcome = Outcome()
        ranges: dict[ChannelFold, _Ranges] = {}
        for fold, site, statistics in calibrated_folds(program, self.tokens, self.layers, RULE, outcome):
            seen = ranges.setdefault(fold, _Ranges(torch.zeros(fold.count), torch.zeros(fold.count), site.ops[0]))
            seen.inputs = torch.maximum(seen.inputs, fold.largest(statistics.largest, site.x))
            for op in site.ops:
                seen.weights = torch.maximum(seen.weights, fold.largest(_largest_of_columns(op), site.x))
        changes = WeightChanges()
        for fold, seen in ranges.items():
            fold.apply(changes, smoothing_scales(seen.inputs, seen.weights, self.alpha))
            outcome.hit(RULE, seen.op)
        changes.apply(program)
        return outcome


@dataclass
class _Ranges:
    """Of one fold the largest magnitude [count] of inputs and of weights."""

    inputs: Tensor
    weights: Tensor
    op: Op


def smoothing_scales(inputs: Tensor, weights: Tensor, alpha: float) -> Tensor:
    """Scales [size] of channels with these largest magnitudes; channels that are always zero count as very small."""
    return inputs.clamp(min=SMALLEST).pow(alpha) / weights.clamp(min=SMALLEST).pow(1 - alpha)


def _largest_of_columns(op: Op) -> Tensor:
    value = op.required("weight")
    assert value.weight is not None
    largest = value.weight.evaluate().float().abs().amax(0)
    if not bool(largest.isfinite().all()):
        raise PassError(f"smooth-quant: weight '{value.name}' holds numbers that are not finite")
    return largest
