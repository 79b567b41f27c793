"""A residual sum and the norm of it in one pass over a row; the sum is kept for the next residual."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.ops.neural import layer_norm, rms_norm
from graphwright.ir.types import TensorType

if TYPE_CHECKING:
    from torch import Tensor


def _require_alike(x: TensorType, skip: TensorType) -> None:
    if x != skip:
        raise IRTypeError(f"x is {x} and skip {skip}")


@op("cpu.add_rms_norm")
def add_rms_norm(
    x: TensorType, skip: TensorType, weight: TensorType, *, epsilon: float
) -> tuple[TensorType, TensorType]:
    """x + skip, and `rms_norm` of it."""
    _require_alike(x, skip)
    rms_norm.rule(x, weight, epsilon=epsilon)
    return x, x


@add_rms_norm.reference
def add_rms_norm_reference(x: Tensor, skip: Tensor, weight: Tensor, *, epsilon: float) -> tuple[Tensor, Tensor]:
    total = x + skip
    return total, rms_norm.evaluate([total, weight], {"epsilon": epsilon})


@op("cpu.add_layer_norm")
def add_layer_norm(
    x: TensorType, skip: TensorType, weight: TensorType | None = None, bias: TensorType | None = None, *, epsilon: float
) -> tuple[TensorType, TensorType]:
    """x + skip, and `layer_norm` of it."""
    _require_alike(x, skip)
    layer_norm.rule(x, weight, bias, epsilon=epsilon)
    return x, x


@add_layer_norm.reference
def add_layer_norm_reference(
    x: Tensor, skip: Tensor, weight: Tensor | None, bias: Tensor | None, *, epsilon: float
) -> tuple[Tensor, Tensor]:
    total = x + skip
    return total, layer_norm.evaluate([total, weight, bias], {"epsilon": epsilon})


@add_rms_norm.cost
@add_layer_norm.cost
def add_rms_norm_cost(op: Op) -> Cost:
    return default_cost(op, op.results[0].type.elements * 6)
