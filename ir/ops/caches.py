"""The KV cache: appending to it and reading it, contiguous or as a ring.

A contiguous cache [batch, heads, capacity, size] has position p at place p. A ring has it at place p % capacity, so it
holds the last `capacity` tokens of a row, whatever the row's length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import ZERO, Cost, default_cost, least
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError, UserError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import require_equal, require_indices, require_rank, same_dtype
from graphwright.ir.types import DType, StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["kv_append", "kv_read", "ring_positions"]


@op("kv_append", in_place={0: "cache"})
def kv_append(
    cache: StateType, new: TensorType, past_length: TensorType, new_length: TensorType | None = None
) -> StateType:
    """Writes new [batch, heads, sequence, size] into the cache [batch, heads, capacity, size], in place.

    Row b's tokens stand at positions past_length[b] (i64 [batch]) and on; the rest of the cache stays as it is. A ring
    takes the first new_length[b] (i64 [batch], 0 to sequence) of them, of these the last `capacity`: padding would
    overwrite what is still needed. A contiguous cache takes all.
    """
    if cache.layout not in ("contiguous", "ring"):
        raise IRTypeError(f"cannot append to a {cache.layout} cache")
    require_rank("cache", cache.tensor, 4)
    require_rank("new", new, 4)
    same_dtype(cache.tensor, new)
    for axis in (0, 1, 3):
        require_equal(f"axis {axis} of cache and new", cache.shape[axis], new.shape[axis])
    require_indices("past_length", past_length, 1)
    require_equal("batch of cache and past_length", cache.shape[0], past_length.shape[0])
    if (new_length is None) != (cache.layout == "contiguous"):
        raise IRTypeError(f"a {cache.layout} cache with{'out' if new_length is None else ''} new_length")
    if new_length is not None and new_length != past_length:
        raise IRTypeError(f"new_length {new_length} is not one number a row")
    return cache


@kv_append.reference
def kv_append_reference(cache: Tensor, new: Tensor, past_length: Tensor, new_length: Tensor | None = None) -> Tensor:
    capacity, sequence = cache.shape[2], new.shape[2]
    if new_length is not None:
        if (new_length < 0).any() or (new_length > sequence).any():
            raise UserError(f"new_length is {[int(n) for n in new_length]} of {sequence} new tokens")
        held = places(past_length + new_length, capacity)
        fresh = held >= past_length[:, None]
        source = torch.where(fresh, capacity + held - past_length[:, None], torch.arange(capacity))
        return torch.cat([cache, new], 2).gather(2, source[:, None, :, None].expand(cache.shape))
    positions = past_length[:, None] + torch.arange(sequence)
    if positions.numel() and (positions.min() < 0 or positions.max() >= capacity):
        raise UserError(f"a cache of {capacity} positions cannot take position {int(positions.max())}")
    index = positions[:, None, :, None].expand(new.shape)
    return cache.scatter(2, index, new)


@kv_append.axes
def kv_append_axes(op: Op) -> AxisFlow:
    return ((0, 1, 2, 3), (0, 1, None, 3), *[(0,)] * (len(op.inputs) - 2))


@kv_append.cost
def kv_append_cost(op: Op) -> Cost:
    new, cache = op.required("new").type.bits, op.required("cache").type.bits
    # A ring that is shorter than the new tokens takes the last of them.
    moved = new if op.operand("new_length") is None else least(new, cache)
    return default_cost(op, ZERO, reads={"cache": ZERO, "new": moved}, writes=(moved,))


@op("kv_read", view=True)
def kv_read(cache: StateType) -> TensorType:
    """What a cache holds, as a tensor: all its places, those included that nothing was written to."""
    return cache.tensor


@kv_read.reference
def kv_read_reference(cache: Tensor) -> Tensor:
    return cache


@kv_read.axes
def kv_read_axes(op: Op) -> AxisFlow:
    return (tuple(range(op.results[0].type.rank)),)


@op("ring_positions")
def ring_positions(length: TensorType, *, capacity: int) -> TensorType:
    """Which position each place of a ring holds once it has taken length[b] (i64 [batch]) tokens: [batch, capacity].

    At place j that is the last position p < length[b] with p % capacity == j; it is negative where there is none yet.
    """
    require_indices("length", length, 1)
    if capacity < 1:
        raise IRTypeError(f"a ring of {capacity} places")
    return TensorType(DType.I64, (length.shape[0], Dim.of(capacity)))


@ring_positions.reference
def places(length: Tensor, capacity: int) -> Tensor:
    last = length[:, None] - 1
    return last - (last - torch.arange(capacity)) % capacity


@ring_positions.axes
def ring_positions_axes(op: Op) -> AxisFlow:
    return ((0,),)
