"""Weights of linear layers with zeros in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from graphwright.ir import Op, PassError, Program, StoredArray, Weight, ops
from graphwright.ir.lazy import torch
from graphwright.ir.rewriting import Outcome
from graphwright.ir.weights import Applied, WeightExpression
from graphwright.passes.base import Pass, register
from graphwright.passes.calibration import InputStatistics, calibration_tokens
from graphwright.passes.compression.masks import Pattern, lowest_of_cells, lowest_of_matrix, lowest_of_row
from graphwright.passes.compression.sparsegpt import sparsegpt
from graphwright.passes.compression.weights import (
    Layers,
    calibrated_weights,
    chosen_weights,
    numbers,
)
from graphwright.passes.quantization.weights import replace_linear_weight

if TYPE_CHECKING:
    from torch import Tensor

RULE = "prune"


@register
@dataclass(frozen=True)
class Prune(Pass):
    """The part `sparsity` of the weights of linear layers becomes zero; `pattern` 2:4 is two of each four inputs.

    `magnitude` leaves out the smallest numbers of a matrix, `wanda` of each row those with the least |w| times the norm
    of their input (Sun et al. 2023), `sparsegpt` those whose loss the others can make up for best, and lets them. The
    latter two need calibration `tokens`, a .npy file. Weights stay dense: they take the same bytes and time as before.
    """

    name: ClassVar[str] = "prune"
    lossy: ClassVar[bool] = True
    findings: ClassVar[tuple[str, ...]] = (RULE,)
    method: Literal["magnitude", "wanda", "sparsegpt"] = "wanda"
    sparsity: float = 0.5
    pattern: Pattern = "unstructured"
    tokens: str = ""
    layers: Layers = "body"

    def run(self, program: Program) -> Outcome:
        self._check()
        outcome, chosen = Outcome(), chosen_weights(program, self.layers)
        if self.method == "magnitude":
            for name in chosen:
                weight = program.weights[name]
                replace_linear_weight(program, weight, f"{name}.pruned", self._by_magnitude(weight))
                outcome.hit(RULE, chosen[name][0], chosen[name])
        else:
            tokens = calibration_tokens(program, self.tokens)
            left = dict(chosen)
            for weight, statistics in calibrated_weights(program, tokens, chosen):
                layers = left.pop(weight.name)
                replace_linear_weight(program, weight, f"{weight.name}.pruned", self._by_inputs(weight, statistics))
                outcome.hit(RULE, layers[0], layers)
            _tell_unreached(outcome, left)
        for graph in program.graphs.values():
            graph.erase_dead()
        program.erase_unused_weights()
        return outcome

    def _check(self) -> None:
        if not 0 < self.sparsity < 1:
            raise PassError(f"prune: sparsity={self.sparsity} must be more than 0 and less than 1")
        if self.pattern == "2:4" and self.sparsity != 0.5:
            raise PassError(f"prune: the pattern 2:4 leaves out half of the weights, not sparsity={self.sparsity}")

    def _by_magnitude(self, weight: Weight) -> WeightExpression:
        scores = numbers(weight).abs()
        cells = self.pattern == "2:4"
        return _without(weight, lowest_of_cells(scores) if cells else lowest_of_matrix(scores, self.sparsity))

    def _by_inputs(self, weight: Weight, statistics: InputStatistics) -> WeightExpression:
        values = numbers(weight)
        if self.method == "sparsegpt":
            pruned = sparsegpt(values, statistics.second_moment, self.sparsity, self.pattern)
            return StoredArray.of(pruned.to(weight.evaluate().dtype))
        scores = values.abs() * statistics.second_moment.diagonal().double().sqrt()
        cells = self.pattern == "2:4"
        return _without(weight, lowest_of_cells(scores) if cells else lowest_of_row(scores, self.sparsity))


def _without(weight: Weight, left_out: Tensor) -> WeightExpression:
    """The weight with zeros; the mask is kept, a byte a number, and the weight stays where it is stored."""
    zero = StoredArray.of(torch.zeros((), dtype=weight.evaluate().dtype))
    return Applied.of(ops.where, (StoredArray.of(left_out), zero, weight.expression), {})


def _tell_unreached(outcome: Outcome, left: dict[str, list[Op]]) -> None:
    for name, layers in left.items():
        outcome.miss(RULE, layers[0], 0, f"no calibration token reaches weight '{name}'")
