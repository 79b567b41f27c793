"""A packed projection's row to the caches and to attention over pieces of the context, in one launch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.dialects.cuda.attention import split_attention
from graphwright.ir.dialects.cuda.rotary import rotary_append
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.ops.attention import Mask
from graphwright.ir.types import StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


@op("cuda.append_attention", in_place={1: "key_cache", 2: "value_cache"})
def append_attention(
    packed: TensorType,
    key_cache: StateType,
    value_cache: StateType,
    past_length: TensorType,
    positions: TensorType,
    key_length: TensorType,
    cos: TensorType | None = None,
    sin: TensorType | None = None,
    *,
    heads: int,
    query: int,
    key: int,
    value: int,
    splits: int,
    scale: float,
    mask: Mask,
    interleaved: bool = False,
    window: int = 0,
    softcap: float = 0.0,
) -> tuple[TensorType, StateType, StateType]:
    """`cuda.split_attention` of what `cuda.rotary_append` makes of packed [batch, sequence, columns].

    Caches are contiguous, of numbers. Results: the pieces and both caches.
    """
    if key_cache.layout != "contiguous":
        raise IRTypeError(f"the caches are {key_cache}, expected contiguous ones")
    columns = {"heads": heads, "query": query, "key": key, "value": value, "interleaved": interleaved}
    appended = rotary_append.rule(packed, key_cache, value_cache, past_length, None, cos, sin, None, None, **columns)
    assert isinstance(appended, tuple)
    queries = appended[0]
    assert isinstance(queries, TensorType)
    pieces = split_attention.rule(
        queries, key_cache, value_cache, positions, key_length, splits=splits, scale=scale, mask=mask, window=window,
        softcap=softcap,
    )  # fmt: skip
    assert isinstance(pieces, TensorType)
    return pieces, key_cache, value_cache


@append_attention.reference
def append_attention_reference(
    packed: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    past_length: Tensor,
    positions: Tensor,
    key_length: Tensor,
    cos: Tensor | None,
    sin: Tensor | None,
    *,
    heads: int,
    query: int,
    key: int,
    value: int,
    splits: int,
    scale: float,
    mask: Mask,
    interleaved: bool,
    window: int,
    softcap: float,
) -> tuple[Tensor, ...]:
    columns = {"heads": heads, "query": query, "key": key, "value": value, "interleaved": interleaved}
    seen = {"splits": splits, "scale": scale, "mask": mask, "window": window, "softcap": softcap}
    given = [packed, key_cache, value_cache, past_length, None, cos, sin, None, None]
    queries, keys, values = rotary_append.evaluate(given, columns)
    return split_attention.evaluate([queries, keys, values, positions, key_length], seen), keys, values


@append_attention.cost
def append_attention_cost(op: Op) -> Cost:
    packed, keys, values = (op.required(name).type for name in ("packed", "key_cache", "value_cache"))
    batch, sequence = packed.shape[:2]
    queries = batch * sequence * op.attribute("heads", int)
    scores = queries * keys.shape[2] * (keys.shape[3] * 2 + values.shape[3] * 2 + 5)
    new = batch * sequence * keys.shape[1]
    turned = 6 if op.operand("cos") is not None else 0
    flops = scores + (queries + new) * keys.shape[3] * turned
    element = op.required("packed").tensor.dtype.bits
    width = Dim.of(op.attribute("heads", int)) * keys.shape[3] + keys.shape[1] * (keys.shape[3] + values.shape[3])
    writes = (op.results[0].type.bits, *(new * cache.shape[3] * element for cache in (keys, values)))
    return default_cost(op, flops, reads={"packed": batch * sequence * width * element}, writes=writes)
