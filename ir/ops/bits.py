"""The same bits under another element type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.declare import op
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.ops.rules import last
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import DType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["bitcast"]


@op("bitcast", view=True)
def bitcast(x: TensorType, *, to: DType) -> TensorType:
    """Integers [..., n] of whole bytes, lowest byte first, as elements `to` of no more bits: [..., n * bits / bits]."""
    if not x.dtype.is_integer or x.dtype.bits < 8:
        raise IRTypeError(f"x must hold integers of whole bytes, it is {x}")
    if to is DType.BOOL or to.bits < 8 or to.bits > x.dtype.bits:
        raise IRTypeError(f"elements of {x.dtype} do not divide into {to}")
    return TensorType(to, (*x.shape[:-1], last("x", x) * Dim.of(x.dtype.bits // to.bits)))


@bitcast.reference
def bitcast_reference(x: Tensor, *, to: DType) -> Tensor:
    return x.contiguous().view(torch_dtype(to))
