"""The operands of an attention kernel: which of them a form has, and of what shape."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from graphwright.backends.tvm.kernels.attention_form import NIBBLE_OFFSET, AttentionForm, Share
from graphwright.backends.tvm.kernels.tir import span
from graphwright.backends.tvm.tvm_library import T, tirx

NEVER = -(1 << 30)
ALWAYS = 1 << 30
"""Positions before and after all others."""


def matched(form: AttentionForm, handles: tuple[Any, ...], queries: int | None = None) -> Any:
    """The buffers of all eleven handles, None where the form has no such operand; written in the function's head."""
    batch, capacity = (tirx.Var(name, "int64") for name in ("batch", "capacity"))
    sequence = tirx.Var("sequence", "int64") if queries is None else T.int64(queries)
    bias_shape = [
        1 if one else dim for one, dim in zip(form.bias_ones, (batch, form.heads, sequence, capacity), strict=True)
    ]
    cache = (batch, form.kv_heads, capacity)

    def scale_shape(share: Share | None, size: int) -> Any:
        return {"tensor": (1,), "channel": (form.kv_heads, size), "token": cache, None: None}[share]

    merged = (batch, sequence, form.heads * form.value_size)
    split = (batch, form.heads, sequence, form.value_size)
    shapes = {
        "q": ((batch, form.heads, sequence, form.head_size), "float32"),
        "k": ((*cache, form.head_size // (2 if form.packed_keys else 1)), form.key_type),
        "v": ((*cache, form.value_size // (2 if form.packed_values else 1)), form.value_type),
        "positions": ((1 if form.shared_positions else batch, sequence), "int64"),
        "key_length": ((batch,) if form.key_length else None, "int64"),
        "bias": (bias_shape if form.bias else None, form.bias),
        "sinks": ((form.heads,) if form.sinks else None, "float32"),
        "key_positions": (
            (1 if form.shared_key_positions else batch, capacity) if form.key_positions else None,
            "int64",
        ),
        "key_scale": (scale_shape(form.key_scale, form.head_size), "float32"),
        "value_scale": (scale_shape(form.value_scale, form.value_size), "float32"),
        "y": (merged if form.merged else split, "float32"),
    }
    buffers = {
        name: None if shape is None else T.match_buffer(handle, shape, element)
        for handle, (name, (shape, element)) in zip(handles, shapes.items(), strict=True)
    }
    sizes = {"batch": batch, "sequence": sequence, "capacity": capacity}
    return SimpleNamespace(**{name: T.Cast("int32", size) for name, size in sizes.items()}, **buffers)


def ring_begin(form: AttentionForm, operands: Any, b: Any) -> Any:
    """Where in a ring the oldest of its positions lies: that of the first query, which takes its place."""
    return T.floormod(T.Cast("int32", operands.positions[0 if form.shared_positions else b, 0]), form.ring)


def key_place(form: AttentionForm, key: Any, begin: Any) -> Any:
    """Where a key lies, counted in the order of positions; `begin` is what `ring_begin` gives."""
    if not form.ring:
        return key
    turned = T.max(key, 0) + begin
    return T.Select(key < form.ring, T.Select(turned < form.ring, turned, turned - form.ring), key)


def limit(form: AttentionForm, operands: Any, b: Any) -> Any:
    """The end of the keys that a batch row has."""
    if not form.key_length:
        return operands.capacity
    return T.max(T.min(T.Cast("int32", operands.key_length[b]), operands.capacity), 0)


def result_index(form: AttentionForm, b: Any, head: Any, query: Any, d: Any) -> Any:
    """Where in y a number of the result goes; d may be the index of a vector."""
    return (b, query, head * form.value_size + d) if form.merged else (b, head, query, d)


def key_range(form: AttentionForm, operands: Any, b: Any, scratch: Any) -> tuple[Any, Any]:
    """The first and the end of the keys that an item's rows may see, once their bounds are in scratch."""
    whole = limit(form, operands, b)
    if form.key_positions:
        return 0, whole
    return T.max(scratch.low_key[0], 0), T.min(scratch.end_key[0], whole)


def bounds(form: AttentionForm, position: Any) -> tuple[Any, Any]:
    """The first and the end of the positions that a query at a position sees."""
    after, window = position + 1, form.window
    match form.mask:
        case "full":
            return T.int32(NEVER), T.int32(ALWAYS)
        case "causal":
            return T.int32(NEVER), after
        case "sliding":
            return after - window, after
        case "chunked":
            return T.floordiv(position, window) * window, after
        case "prefix":
            return T.int32(NEVER), T.max(after, window)


def bias_at(form: AttentionForm, bias: Any, *index: Any) -> Any:
    """The bias of batch row, head, query and key."""
    return bias[tuple(0 if one else i for one, i in zip(form.bias_ones, index, strict=True))]


def as_float(x: Any) -> Any:
    """Codes, or halves, as the floats that they are."""
    lanes = x.ty.dtype.lanes
    return x if "float32" in str(x.ty.dtype) else T.Cast(f"float32x{lanes}" if lanes > 1 else "float32", x)


def floats_of(x: Any, b: Any, head: Any, key: Any, start: Any, lanes: int) -> Any:
    """Elements of a key or value as floats; of those of which two are in a byte, none of the other half."""
    if str(x.ty.dtype) != "uint8":
        return as_float(x[b, head, key, span(start, lanes)])
    half = int(x.shape[3])
    bytes = T.Cast(f"int32x{lanes}" if lanes > 1 else "int32", x[b, head, key, span(start % half, lanes)])
    shift = T.Cast("int32", start // half) * 4

    def each(number: Any) -> Any:
        return T.broadcast(number, lanes) if lanes > 1 else number

    return as_float(T.bitwise_and(T.shift_right(bytes, each(shift)), each(T.int32(15))) - each(T.int32(NIBBLE_OFFSET)))
