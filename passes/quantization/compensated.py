"""GPTQ over a program: each layer is rounded on what the rounded layers before it give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir import Op, PassError, Program, Weight
from graphwright.ir.rounding import Search
from graphwright.ir.types import QuantizedType
from graphwright.passes.calibration import calibrate, calibration_graph
from graphwright.passes.calibration.resume import FinishedWeights
from graphwright.passes.quantization.gptq import Factor, round_with_compensation
from graphwright.passes.quantization.stored import part_types, parts_of, stored_weight
from graphwright.passes.quantization.weights import replace_linear_weight

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Compensation:
    """How GPTQ rounds: see `Factor` and `round_with_compensation`."""

    search: Search
    damping: float
    by_activation: bool


def replace_with_compensation(
    program: Program,
    chosen: Mapping[str, list[Op]],
    type_of: Callable[[Weight], QuantizedType],
    how: Compensation,
    tokens: Tensor,
    finished: FinishedWeights,
) -> None:
    """Replaces the chosen weights, which are given with the layers that read them, by quantized ones.

    Those that are finished are taken as they are. A weight that several layers share is rounded for the inputs of the
    first. Raises `PassError` where calibration does not come by a layer.
    """
    graph = calibration_graph(program)
    reached = {weight.name for op in graph for v in op.inputs if (weight := v.weight) is not None}
    for name, layers in chosen.items():
        if name not in reached:
            raise PassError(f"weight '{name}' of {layers[0].location} cannot be calibrated: '{graph.name}' has no use")
    pending: dict[str, QuantizedType] = {}
    for name in chosen:
        type = type_of(program.weights[name])
        parts = finished.find(name, part_types(type))
        if parts is None:
            pending[name] = type
        else:
            replace_linear_weight(program, program.weights[name], f"{name}.quantized", stored_weight(type, parts))

    def is_pending(op: Op) -> bool:
        weight = op.required("weight").weight
        return weight is not None and weight.name in pending

    for site, statistics in calibrate(program, tokens, is_pending):
        layers = [op for op in site.ops if is_pending(op)]
        if not layers:
            continue
        factor = Factor.of(statistics.second_moment, how.damping, how.by_activation)
        for op in layers:
            weight = op.required("weight").weight
            assert weight is not None
            type = pending.pop(weight.name, None)
            if type is not None:
                rounded = round_with_compensation(weight.evaluate(), factor, type, how.search)
                parts = finished.keep(weight.name, part_types(type), parts_of(rounded))
                replace_linear_weight(program, weight, f"{weight.name}.quantized", stored_weight(type, parts))
