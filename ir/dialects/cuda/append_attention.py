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
from graphwright.ir.types import DType, StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


@op("cuda.append_attention", in_place={1: "key_cache", 2: "value_cache", 3: "value_scale"})
def append_attention(
    packed: TensorType,
    key_cache: StateType,
    value_cache: StateType,
    past_length: TensorType,
    positions: TensorType,
    key_length: TensorType,
    cos: TensorType | None = None,
    sin: TensorType | None = None,
    key_scale: TensorType | None = None,
    value_scale: TensorType | StateType | None = None,
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
) -> tuple[TensorType | StateType, ...]:
    """`cuda.split_attention` of what `cuda.rotary_append` makes of packed [batch, sequence, columns].

    Caches are contiguous, of numbers or codes. Results: the pieces and both caches, and the cache of the values' scales
    where tokens have them.
    """
    if key_cache.layout != "contiguous":
        raise IRTypeError(f"the caches are {key_cache}, expected contiguous ones")
    columns = {"heads": heads, "query": query, "key": key, "value": value, "interleaved": interleaved}
    scales = key_scale, value_scale
    appended = rotary_append.rule(packed, key_cache, value_cache, past_length, None, cos, sin, *scales, **columns)
    assert isinstance(appended, tuple)
    queries = appended[0]
    assert isinstance(queries, TensorType)
    pieces = split_attention.rule(
        queries, key_cache, value_cache, positions, key_length, None, None, *scales, splits=splits, scale=scale,
        mask=mask, window=window, softcap=softcap,
    )  # fmt: skip
    assert isinstance(pieces, TensorType)
    return (pieces, key_cache, value_cache, *([value_scale] if isinstance(value_scale, StateType) else []))


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
    key_scale: Tensor | None,
    value_scale: Tensor | None,
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
    given = [packed, key_cache, value_cache, past_length, None, cos, sin, key_scale, value_scale]
    queries, keys, values, *scales = rotary_append.evaluate(given, columns)
    read = [queries, keys, values, positions, key_length, None, None, key_scale, *(scales or [value_scale])]
    return split_attention.evaluate(read, seen), keys, values, *scales


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
    states = [state.tensor for state in op.results[1:]]
    writes = (op.results[0].type.bits, *(new * state.shape[3] * state.dtype.bits for state in states))
    rounded = sum(new * state.shape[3] * 4 for state in states if state.dtype is DType.I8)
    return default_cost(op, flops + rounded, reads={"packed": batch * sequence * width * element}, writes=writes)
