"""Scales of caches of codes, as kernels read them."""

from __future__ import annotations

from dataclasses import dataclass

from graphwright.backends.tvm.emit.emitter import Emitter, Tensor
from graphwright.backends.tvm.kernels.attention_form import Share
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Value

ONE = Dim.of(1)


@dataclass(frozen=True)
class CodeScale:
    """A scale, f32 [1], [kv heads, size] or [batch, kv heads, keys], and what one number of it is for."""

    tensor: Tensor
    share: Share


def scale_of(e: Emitter, scale: Value | None) -> CodeScale | None:
    """The same memory in the shape in which kernels read it; None where there is no scale."""
    if scale is None:
        return None
    if not scale.type.shape:
        return CodeScale(e.reshape(e.value(scale), (ONE,)), "tensor")
    batch, heads, keys, size = scale.type.shape
    # For channels [1, heads, 1, size]. Where that could be for tokens too, for one row of one number, it is the same.
    if size is ONE:
        return CodeScale(e.reshape(e.value(scale), (batch, heads, keys)), "token")
    return CodeScale(e.reshape(e.value(scale), (heads, size)), "channel")
