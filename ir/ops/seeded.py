"""Numbers of a counter: random to look at, and the same wherever they are computed."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from graphwright.ir.cost import ZERO, Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.traits import Trait
from graphwright.ir.types import DType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["seeded"]

SEEDS = 1 << 31
"""Seeds are below this."""
CHUNK = 1 << 20
"""Elements that are computed together."""
WHOLE = {
    DType.I4: (-8, 7),
    DType.U4: (0, 15),
    DType.I8: (-128, 127),
    DType.U8: (0, 255),
    DType.F8E4M3: (-16, 16),
}
"""Types that are whole numbers here, and the least and the largest: of f8e4m3 those that it has every one between."""
_MASK = (1 << 32) - 1


@op("seeded", Trait.SHAPED)
def seeded(*, seed: int, spread: float, middle: float, dtype: DType, shape: tuple[Dim, ...]) -> TensorType:
    """Uniform random numbers from middle - spread up to middle + spread, by a hash of the seed and the element's place.

    The hash is `lowbias32` (Wellons, "Hash function prospector"), of the place, then of that xor the seed. Its upper 24
    bits are the number, in float32, then rounded to the type. Where the spread is a power of two nothing is rounded
    before the middle is added, so that every way to compute it gives the same. Numbers of `WHOLE` types are rounded
    down, and below middle + spread. Weights of a model of which only the sizes matter are such numbers, or codes.
    """
    if dtype not in (DType.F16, DType.BF16, DType.F32, *WHOLE):
        known = ", ".join(map(str, (DType.F16, DType.BF16, DType.F32, *WHOLE)))
        raise IRTypeError(f"{dtype} is not what random numbers are made in: {known}")
    if dtype in WHOLE:
        least, largest = WHOLE[dtype]
        if not (least <= middle - spread and middle + spread <= largest + 1):
            raise IRTypeError(f"numbers of {dtype} from {middle - spread} up to {middle + spread}")
    if not 0 <= seed < SEEDS:
        raise IRTypeError(f"seed {seed} is not from 0 up to {SEEDS - 1}")
    if any(dim.constant is None or dim.constant < 0 for dim in shape):
        raise IRTypeError("random numbers have a fixed shape")
    if prod(dim.constant or 0 for dim in shape) >= SEEDS:
        raise IRTypeError(f"more than {SEEDS - 1} elements")
    return TensorType(dtype, shape)


@seeded.reference
def seeded_reference(*, seed: int, spread: float, middle: float, dtype: DType, shape: tuple[int, ...]) -> Tensor:
    count = prod(shape)
    values = torch.empty(count, dtype=torch_dtype(dtype))
    for begin in range(0, count, CHUNK):
        places = torch.arange(begin, min(count, begin + CHUNK))
        bits = _hash(_hash(places) ^ seed) >> 8
        unit = bits.to(torch.float32) * 2.0**-23 - 1.0
        numbers = unit * spread + middle
        values[begin : begin + CHUNK] = (numbers.floor() if dtype in WHOLE else numbers).to(values.dtype)
    return values.reshape(shape)


def _hash(x: Tensor) -> Tensor:
    """Of integers of 32 bits, in 64, whose products wrap as those of 32 bits do in their lower half."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


@seeded.cost
def seeded_cost(op: Op) -> Cost:
    """Elements are written; what is computed of each is nothing beside that."""
    return default_cost(op, ZERO)
