"""Which weights are compressed, and the numbers in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from graphwright.ir import Op, PassError, Program, Weight
from graphwright.ir.lazy import torch
from graphwright.ir.types import TensorType
from graphwright.passes.calibration import InputStatistics, calibrate
from graphwright.passes.quantization.weights import is_head, linear_weights

if TYPE_CHECKING:
    from torch import Tensor

Layers = Literal["all", "body", "head"]
"""All linear layers, those before the output head, or the head alone."""


def chosen_weights(program: Program, layers: Layers) -> dict[str, list[Op]]:
    """Of each float weight that such linear layers multiply by those that do; a weight of both kinds is the head's."""
    return {
        name: users
        for name, users in linear_weights(program).items()
        if isinstance(program.weights[name].type, TensorType)
        and (layers == "all" or any(map(is_head, users)) == (layers == "head"))
    }


def calibrated_weights(
    program: Program, tokens: Tensor, chosen: dict[str, list[Op]]
) -> Iterator[tuple[Weight, InputStatistics]]:
    """Each of the chosen weights that the tokens reach, once, with what its layers read.

    The caller may replace it before it goes on. A weight of several layers goes by what the first of them reads.
    """
    pending = set(chosen)

    def wanted(op: Op) -> bool:
        weight = op.required("weight").weight
        return weight is not None and weight.name in chosen

    for site, statistics in calibrate(program, tokens, wanted):
        weights = [op.required("weight").weight for op in site.ops]
        for weight in weights:
            if weight is not None and weight.name in pending:
                pending.discard(weight.name)
                yield weight, statistics


def numbers(weight: Weight) -> Tensor:
    """The weight in float64. Raises `PassError` where not all of it are finite numbers."""
    values = weight.evaluate().double()
    if not bool(torch.isfinite(values).all()):
        raise PassError(f"weight '{weight.name}' holds NaN or infinite numbers: its checkpoint is damaged")
    return values
