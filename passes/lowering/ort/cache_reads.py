"""What an attention reads of a cache that the same graph appends to: floats, or codes and their scale."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from graphwright.ir import ops
from graphwright.ir.dialects.ort.packed_caches import dequantize_packed, quantize_packed
from graphwright.ir.graph import Op, Value
from graphwright.ir.ops.rules import Shape
from graphwright.ir.weights import Applied
from graphwright.passes.lowering.ort.table_pass import Context

ENCODINGS = {ops.dequantize_tensor: ops.quantize_tensor, dequantize_packed: quantize_packed}


@dataclass(frozen=True)
class CacheRead:
    """Keys or values in a cache: the op that appends the new ones, these as they were computed, and what leads from
    the append to the attention. `scale` is None for a cache of floats."""

    append: Op
    new: Value
    way: tuple[Op, ...]
    scale: Value | None

    @property
    def is_fitted(self) -> bool:
        """Whether the scale is a weight: one number, or one for each channel."""
        return self.scale is not None and self.scale.weight is not None

    def is_only_for(self, reader: Op) -> bool:
        """Whether nothing else reads the cache after the append."""
        steps = (self.append, *self.way, reader)
        return all(op.result.users == [user] for op, user in pairwise(steps))


def cache_read(value: Value) -> CacheRead | None:
    """How a value is what a cache holds after an append; None if it is something else."""
    append = value.defined_by(ops.kv_append)
    if append is not None:
        return CacheRead(append, append.required("new"), (), None)
    floats = value.owner
    if floats is None or (encoding := ENCODINGS.get(floats.definition)) is None:
        return None
    read = floats.required("codes").defined_by(ops.kv_read)
    append = read.required("cache").defined_by(ops.kv_append) if read is not None else None
    codes = append.required("new").defined_by(encoding) if append is not None else None
    if read is None or append is None or codes is None:
        return None
    scale = codes.required("scale")
    if floats.required("scale") is not scale and _appended(floats.required("scale")) is not scale:
        return None
    return CacheRead(append, codes.required("x"), (read, floats), scale)


def _appended(scale: Value) -> Value | None:
    """Of scales that are read from a cache of their own those of the new tokens."""
    read = scale.defined_by(ops.kv_read)
    append = read.required("cache").defined_by(ops.kv_append) if read is not None else None
    return append.required("new") if append is not None else None


def common_scales(context: Context, key: CacheRead, value: CacheRead) -> tuple[Value | None, Value | None]:
    """The scales of both caches in one shape, as GroupQueryAttention wants them: each channel's where one has those."""
    if key.scale is None or value.scale is None or key.scale.type == value.scale.type:
        return key.scale, value.scale
    channels = max(key.scale.type.shape, value.scale.type.shape, key=len)
    first, second = (_expanded(context, scale, channels) for scale in (key.scale, value.scale))
    return first, second


def _expanded(context: Context, scale: Value, shape: Shape) -> Value:
    if scale.type.shape == shape:
        return scale
    assert scale.weight is not None
    wide = Applied.of(ops.expand, (scale.weight.expression,), {"shape": shape})
    return context.graph.weight(context.program.add_weight(f"{scale.weight.name}.channels", wide))
