# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""One head of one token to int8 codes in a cache, as the IR's `quantize_tensor` gives them."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.attention_form import Share
from graphwright.backends.tvm.kernels.fast_math import ROUNDER, absolute, clamped, number, whole
from graphwright.backends.tvm.kernels.folding import folded
from graphwright.backends.tvm.kernels.local_buffer import local_buffer
from graphwright.backends.tvm.kernels.loops import filled, lanes_within, span
from graphwright.backends.tvm.tvm_library import T
from graphwright.ir.ops.codes import SMALLEST_SCALE

LEAST, MOST = -128.0, 127.0


def write_codes(cpu: Cpu, size: int, share: Share | None) -> Any:
    """encode(row, scale, b, head, key, cache): the codes of row f32 [size] to their place in the cache."""
    lanes = lanes_within(cpu, size)
    codes = f"int8x{lanes}" if lanes > 1 else "int8"

    def reciprocal(scale: Any, b: Any, head: Any, key: Any, at: Any) -> Any:
        if share == "channel":
            return filled(1.0, lanes) / scale[head, at]
        return filled(T.float32(1) / (scale[0] if share == "tensor" else scale[b, head, key]), lanes)

    def rounded(x: Any) -> Any:
        return whole(clamped(x, LEAST, MOST) + number(ROUNDER, x))

    @T.inline
    def encode(row: Any, scale: Any, b: Any, head: Any, key: Any, cache: Any) -> None:
        for i in range(size // lanes):
            at = T.meta_var(span(i * lanes, lanes))
            cache[b, head, key, at] = T.Cast(codes, rounded(row[at] * reciprocal(scale, b, head, key, at)))

    return encode


def token_scale(cpu: Cpu, size: int) -> Any:
    """fit(row, scale, index): scale[index] so that the largest number of row f32 [size] fits."""
    lanes = lanes_within(cpu, size)

    @T.inline
    def fit(row: Any, scale: Any, index: Any) -> None:
        largest = local_buffer(lanes)
        largest[span(0, lanes)] = filled(0.0, lanes)
        for i in range(size // lanes):
            at = T.meta_var(span(i * lanes, lanes))
            largest[span(0, lanes)] = T.max(absolute(row[at]), largest[span(0, lanes)])
        most = T.meta_var(folded(largest[span(0, lanes)], lanes, T.max))
        scale[index] = T.max(most * T.float32(1 / MOST), T.float32(SMALLEST_SCALE))

    return fit
