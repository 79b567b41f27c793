"""AWQ: channels that matter get larger weights before rounding, and smaller inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from graphwright.ir import Op, PassError, Program
from graphwright.ir.lazy import torch
from graphwright.ir.rewriting import Outcome
from graphwright.ir.rounding import Search, quantize
from graphwright.ir.types import QuantizedType
from graphwright.passes.base import Pass, register
from graphwright.passes.quantization.calibrated_folds import Layers, calibrated_folds
from graphwright.passes.quantization.formats import Codes, Format, ScaleType
from graphwright.passes.quantization.weight_folds import ChannelFold, WeightChanges

if TYPE_CHECKING:
    from torch import Tensor

RULE = "awq"
EXPONENTS = tuple(i / 20 for i in range(20))
SMALLEST = 1e-4


@register
@dataclass(frozen=True)
class AWQ(Pass):
    """Scales the inputs of linear layers so that rounding their weights to `to` in groups of `group` costs least.

    A channel's scale is its mean magnitude over the calibration tokens to a power between 0 and 1: of twenty, the one
    that makes the squared error of the layers' outputs least (Lin et al. 2023, eq. 5). The fields are those of the
    quantize-weights that follows; nothing is rounded yet.
    """

    name: ClassVar[str] = "awq"
    findings: ClassVar[tuple[str, ...]] = (RULE,)
    tokens: str = ""
    to: Codes = "i4"
    group: int = 128
    method: Literal["absmax", "mse"] = "mse"
    scale: ScaleType = "f32"
    minimum: bool = False
    layers: Layers = "all"

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        searches: dict[ChannelFold, _Search] = {}
        for fold, site, statistics in calibrated_folds(program, self.tokens, self.layers, RULE, outcome):
            search = searches.get(fold)
            if search is None:
                scales = candidates(fold.gathered(statistics.mean_magnitude, site.x))
                search = searches[fold] = _Search(scales, torch.zeros(len(scales)), site.ops[0])
            columns = torch.stack([fold.spread(s, site.x) for s in search.scales])
            for op in site.ops:
                search.errors += self._errors(op, columns, statistics.second_moment)
        changes = WeightChanges()
        for fold, search in searches.items():
            best = int(search.errors.argmin())
            # The exponent 0 leaves all channels as they are.
            if best:
                fold.apply(changes, search.scales[best])
                outcome.hit(RULE, search.op)
        changes.apply(program)
        return outcome

    def _errors(self, op: Op, columns: Tensor, second_moment: Tensor) -> Tensor:
        """The squared error of the layer's outputs for each scaling of its columns [candidates, in]."""
        value = op.required("weight")
        assert value.weight is not None
        weight = value.weight.evaluate().float()
        if not bool(weight.isfinite().all()):
            raise PassError(f"awq: weight '{value.name}' holds numbers that are not finite")
        type = Format(self.to, self.group, self.scale, self.minimum).rounded(value.weight.expression, self.method).type
        assert isinstance(type, QuantizedType)
        return torch.stack([output_error(weight, s, second_moment, type, self.method) for s in columns])


@dataclass
class _Search:
    """Scales [candidates, count] of one fold, and what each has cost so far in the outputs of the layers behind it."""

    scales: Tensor
    errors: Tensor
    op: Op


def candidates(magnitudes: Tensor) -> Tensor:
    """The scales [20, size] that magnitudes of channels [size] give: to the powers 0, 0.05 … 0.95, their extremes
    made reciprocal."""
    powers = torch.stack([magnitudes.pow(exponent).clamp(min=SMALLEST) for exponent in EXPONENTS])
    return powers / (powers.amax(1, keepdim=True) * powers.amin(1, keepdim=True)).sqrt()


def output_error(weight: Tensor, scales: Tensor, second_moment: Tensor, type: QuantizedType, method: Search) -> Tensor:
    """What rounding weight [out, in] with its columns times scales [in] does to the outputs, as a squared error.

    That is trace(D M Dᵀ), where D is the change of the weight and M [in, in] the sum of x xᵀ.
    """
    change = quantize(weight * scales, type, method).dequantize(weight.dtype) / scales - weight
    return ((change @ second_moment) * change).sum()
