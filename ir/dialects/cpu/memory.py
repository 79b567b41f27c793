"""Copies: the same numbers in other memory, where it matters whose memory a value lies in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import ZERO, Cost, default_cost
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.graph import Op
from graphwright.ir.ops.rules import aligned_right
from graphwright.ir.traits import Trait
from graphwright.ir.types import DType, StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

STORED = frozenset(
    {DType.BOOL, DType.I8, DType.U8, DType.I16, DType.I32, DType.I64, DType.F16, DType.BF16, DType.F32, DType.F64}
)
"""Types that a tensor of a step can have; others are codes of weights."""


@op("cpu.copy", Trait.ELEMENTWISE, Trait.MOVES)
def copy(x: TensorType | StateType) -> TensorType | StateType:
    """x in memory of its own. A copy of a state is a state, which may be changed in place while x stays as it is."""
    return x


@copy.reference
def copy_reference(x: Tensor) -> Tensor:
    return x.clone()


@copy.axes
def copy_axes(op: Op) -> AxisFlow:
    return aligned_right(op)


@copy.cost
def copy_cost(op: Op) -> Cost:
    return default_cost(op, ZERO)
