"""Emission of rotary embedding, and of packed projections that go to caches."""

from typing import cast

from graphwright.backends.tvm.emit.attention import bits_of, numbers_of, scale_of
from graphwright.backends.tvm.emit.emitter import Emitter, row_count
from graphwright.backends.tvm.kernels import rotary_append as appending
from graphwright.backends.tvm.kernels import rotary_table as tables
from graphwright.backends.tvm.kernels.rope import rope
from graphwright.ir.dialects.packed_codes import unpacked
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op, Value
from graphwright.ir.types import StateType

ONE = Dim.of(1)


def emit_rotary_table(e: Emitter, op: Op) -> None:
    positions, frequencies = op.inputs
    cos, sin = e.kernel(
        tables.rotary_table,
        [e.value(positions), e.single(frequencies)],
        [v.tensor for v in op.results],
        settings=e.settings,
        tokens=row_count((*positions.type.shape, ONE)),
        pairs=frequencies.type.shape[0].evaluate({}),
        scale=op.attributes["scale"],
    )
    e.bind(op.results[0], cos)
    e.bind(op.results[1], sin)


def emit_rotary_embedding(e: Emitter, op: Op) -> None:
    x, cos, sin = op.inputs
    batch, heads, sequence, size = x.type.shape
    (turned,) = e.kernel(
        rope,
        [e.single(x), e.value(cos), e.value(sin)],
        [e.single_type(op.result.tensor)],
        settings=e.settings,
        tokens=row_count((batch, sequence, ONE)),
        heads=heads.evaluate({}),
        size=size.evaluate({}),
        pairs=cos.type.shape[2].evaluate({}),
        interleaved=op.attributes["interleaved"],
        shared=_is_shared(cos, batch),
    )
    e.computed(op.result, turned)


def _is_shared(table: Value | None, batch: Dim) -> bool:
    """Whether all rows of a batch have the positions of one."""
    return table is not None and table.type.shape[0] is ONE and batch is not ONE


def emit_rotary_append(e: Emitter, op: Op) -> None:
    packed, cos = op.required("packed"), op.operand("cos")
    key_scale, value_scale = (scale_of(e, op.operand(name)) for name in ("key_scale", "value_scale"))
    caches = [op.required(name) for name in ("key_cache", "value_cache")]
    (_, kv_heads, _, head_size), (*_, value_size) = (unpacked(cache.tensor).shape for cache in caches)
    batch, sequence, columns = packed.type.shape
    assert isinstance(caches[0].type, StateType)
    starts = (cast(int, op.attributes[name]) for name in ("query", "key", "value"))
    before = [e.value(v) for v in (packed, cos, op.operand("sin")) if v is not None]
    before += [e.value(v) for v in (op.required("past_length"), op.operand("new_length")) if v is not None]
    scales = [each.tensor for each in (key_scale, value_scale) if each is not None]
    kept = value_scale is not None and value_scale.share == "token"
    arguments = [*before, *scales, *map(e.value, caches)]
    changed = [len(arguments) - 2, len(arguments) - 1]
    results = [c.tensor for c in caches]
    if value_scale is not None and kept:
        changed.append(len(before) + len(scales) - 1)
        results.append(value_scale.tensor.type)
    *updated, turned = e.kernel(
        appending.rotary_append,
        arguments,
        [*results, op.results[0].tensor],
        in_place=[*changed, -1],
        settings=e.settings,
        tokens=row_count((batch, sequence, ONE)),
        packed=appending.Packed(columns.evaluate({}), *starts),
        heads=op.attributes["heads"],
        kv_heads=kv_heads.evaluate({}),
        head_size=head_size.evaluate({}),
        value_size=value_size.evaluate({}),
        pairs=0 if cos is None else cos.type.shape[2].evaluate({}),
        interleaved=op.attributes["interleaved"],
        shared=_is_shared(cos, batch),
        ring=caches[0].type.layout == "ring",
        key_scale=None if key_scale is None else key_scale.share,
        value_scale=None if value_scale is None else value_scale.share,
        key_bits=bits_of(caches[0]),
        value_bits=bits_of(caches[1]),
        key_numbers=numbers_of(caches[0]),
        value_numbers=numbers_of(caches[1]),
    )
    e.bind(op.results[0], turned)
    for result, tensor in zip(op.results[1:], updated, strict=True):
        e.bind(result, e.reshape(tensor, result.tensor.shape))
