"""Weights of linear layers in few bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from graphwright.ir import DType, Op, Program, Weight, ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.rewriting import Outcome
from graphwright.ir.types import TensorType
from graphwright.ir.weights import Applied
from graphwright.passes.base import Pass, register
from graphwright.passes.quantization.weights import is_head, linear_weights, replace_linear_weight

RULE = "quantize-weights"

Codes = Literal["i8", "u8", "i4", "u4", "i3", "u3", "i2", "u2", "f8e4m3", "f8e5m2", "f4e2m1"]
ScaleType = Literal["f32", "f16", "bf16", "f8e4m3", "f8e8m0"]


@register
@dataclass(frozen=True)
class QuantizeWeights(Pass):
    """Weights of linear layers become codes of `to`, with one scale for each `group` inputs (0: one a row).

    Signed codes are symmetric, unsigned ones have zero points. A scale fits the largest weight of its group (absmax) or
    makes the squared error least (mse).
    """

    name: ClassVar[str] = "quantize-weights"
    lossy: ClassVar[bool] = True
    findings: ClassVar[tuple[str, ...]] = (RULE,)
    to: Codes = "i4"
    group: int = 128
    method: Literal["absmax", "mse"] = "mse"
    scale: ScaleType = "f32"
    layers: Literal["all", "body", "head"] = "all"

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        for name, layers in linear_weights(program).items():
            weight = program.weights[name]
            if not isinstance(weight.type, TensorType) or not self._covers(layers):
                continue
            replace_linear_weight(program, weight, f"{name}.quantized", self._rounded(weight))
            outcome.hit(RULE, layers[0], layers)
        for graph in program.graphs.values():
            graph.erase_dead()
        program.erase_unused_weights()
        return outcome

    def _covers(self, layers: list[Op]) -> bool:
        return self.layers == "all" or any(map(is_head, layers)) == (self.layers == "head")

    def _rounded(self, weight: Weight) -> Applied:
        attributes: Mapping[str, Attribute] = {
            "to": DType(self.to),
            "group": self.group,
            "scale": DType(self.scale),
            "tensor_scale": self.scale == "f8e4m3",
            "search": self.method,
        }
        return Applied.of(ops.round_to_nearest, (weight.expression,), attributes)
