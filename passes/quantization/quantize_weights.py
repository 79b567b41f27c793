"""Weights of linear layers and experts in few bits."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from graphwright.ir import Op, Program, Weight
from graphwright.ir.rewriting import Outcome
from graphwright.ir.rounding import Search
from graphwright.ir.types import QuantizedType, TensorType
from graphwright.ir.weights import Applied
from graphwright.passes.base import Pass, PassError, register
from graphwright.passes.calibration import calibration_tokens
from graphwright.passes.calibration.resume import FinishedWeights, fingerprint
from graphwright.passes.quantization.compensated import Compensation, replace_with_compensation
from graphwright.passes.quantization.formats import Codes, Format, ScaleType
from graphwright.passes.quantization.weights import (
    Layers,
    covers,
    expert_weights,
    linear_weights,
    replace_expert_weight,
    replace_linear_weight,
    require_finite,
)

RULE = "quantize-weights"


@register
@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Weights of linear layers and experts become codes of `to`, with one scale for each `group` inputs (0: one a row).

    Signed codes are symmetric, unsigned ones have zero points, or, with `minimum`, minimums. A scale fits the largest
    weight of its group (absmax; with minimums its range) or makes the squared error least (mse). With `gptq` (Frantar
    et al. 2023) scales are those of mse, and the weights that are rounded later make up for the error of those before,
    on the calibration `tokens` (a .npy file, int64 [rows, length]), each layer on what the quantized layers before it
    give; finished weights are kept in `folder` if there is one. Experts are of the body, and then rounded by mse.
    """

    name: ClassVar[str] = "quantize-weights"
    lossy: ClassVar[bool] = True
    findings: ClassVar[tuple[str, ...]] = (RULE,)
    to: Codes = "i4"
    group: int = 128
    method: Literal["absmax", "mse", "gptq"] = "mse"
    scale: ScaleType = "f32"
    minimum: bool = False
    layers: Layers = "all"
    tokens: str = ""
    folder: str = ""
    damping: float = 0.01
    act_order: bool = False

    @property
    def _format(self) -> Format:
        return Format(self.to, self.group, self.scale, self.minimum)

    @property
    def _search(self) -> Search:
        return "absmax" if self.method == "absmax" else "mse"

    def run(self, program: Program) -> Outcome:
        self._check()
        chosen = {
            name: layers
            for name, layers in linear_weights(program).items()
            if isinstance(program.weights[name].type, TensorType) and covers(self.layers, layers)
        }
        experts = {
            name: layers
            for name, layers in expert_weights(program).items()
            if isinstance(program.weights[name].type, TensorType) and self.layers != "head"
        }
        outcome = Outcome()
        for name, layers in (chosen | experts).items():
            require_finite(program.weights[name], layers)
        # First: what comes behind them is calibrated on what they give.
        for name, layers in experts.items():
            weight = program.weights[name]
            replace_expert_weight(program, weight, f"{name}.quantized", self._rounded(weight))
            if self.method == "gptq":
                outcome.count(RULE, 1, layers[0].location)
                outcome.miss(RULE, layers[0], 1, f"'{name}' is rounded to nearest: calibration is of linear layers")
            else:
                outcome.hit(RULE, layers[0], layers)
        if self.method == "gptq":
            self._with_compensation(program, chosen)
        else:
            for name in chosen:
                weight = program.weights[name]
                replace_linear_weight(program, weight, f"{name}.quantized", self._rounded(weight))
        for layers in chosen.values():
            outcome.hit(RULE, layers[0], layers)
        for graph in program.graphs.values():
            graph.erase_dead()
        program.erase_unused_weights()
        return outcome

    def _check(self) -> None:
        self._format.check(self.name)
        if self.method != "gptq" and (self.tokens or self.folder):
            raise PassError(f"{self.name}: method {self.method} uses neither tokens nor a folder; method=gptq does")
        if self.damping < 0:
            raise PassError(f"{self.name}: damping of {self.damping}, expected 0 or more")

    def _rounded(self, weight: Weight) -> Applied:
        return self._format.rounded(weight.expression, self._search)

    def _type(self, weight: Weight) -> QuantizedType:
        type = self._rounded(weight).type
        assert isinstance(type, QuantizedType)
        return type

    def _with_compensation(self, program: Program, chosen: Mapping[str, list[Op]]) -> None:
        tokens = calibration_tokens(program, self.tokens)
        method = repr(replace(self, tokens="", folder=""))
        finished = FinishedWeights(self.folder, fingerprint(program, tokens, method) if self.folder else "")
        how = Compensation(self._search, self.damping, self.act_order)
        replace_with_compensation(program, chosen, self._type, how, tokens, finished)
