"""Gated units that read gate and up where a packed projection left them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.dims import Dim, product
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.ops.neural import Activation, glu
from graphwright.ir.ops.rules import last
from graphwright.ir.types import TensorType

if TYPE_CHECKING:
    from torch import Tensor


def require_columns(packed: TensorType, spans: dict[str, tuple[int, int]]) -> None:
    """Raises `IRTypeError` unless each span, its first column and how many there are, lies in the rows of `packed`."""
    columns = last("packed", packed).constant
    if columns is None:
        raise IRTypeError(f"the rows of {packed} have no fixed length")
    for name, (start, size) in spans.items():
        if start < 0 or size < 1 or start + size > columns:
            raise IRTypeError(f"{name} has columns {start} to {start + size} of {packed}")


@op("cpu.gated_columns")
def gated_columns(packed: TensorType, *, kind: Activation, size: int, gate: int, up: int) -> TensorType:
    """`glu` of `size` columns of packed [..., columns] from column `gate` on, and of as many from `up` on."""
    require_columns(packed, {"gate": (gate, size), "up": (up, size)})
    both = TensorType(packed.dtype, (*packed.shape[:-1], Dim.of(size)))
    glu.rule(both, both, kind=kind)
    return both


@gated_columns.reference
def gated_columns_reference(packed: Tensor, *, kind: Activation, size: int, gate: int, up: int) -> Tensor:
    return glu.evaluate([packed[..., gate : gate + size], packed[..., up : up + size]], {"kind": kind})


@gated_columns.cost
def gated_columns_cost(op: Op) -> Cost:
    result = op.result.tensor
    # Gate and up, which are each as large as the result.
    read = product(result.shape) * result.dtype.bits * 2
    return default_cost(op, result.elements * 5, reads={"packed": read})
