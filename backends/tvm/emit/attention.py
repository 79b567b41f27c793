"""Emission of attention and of the KV cache."""

from dataclasses import dataclass
from typing import cast

from graphwright.backends.tvm.emit.emitter import Emitter, Tensor, row_count, type_name
from graphwright.backends.tvm.kernels.attention import attention
from graphwright.backends.tvm.kernels.attention_form import AttentionForm, Bits, Numbers, Share
from graphwright.backends.tvm.kernels.kv_append import kv_append
from graphwright.ir.dialects.packed_codes import unpacked
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op, Value
from graphwright.ir.ops.attention import Mask
from graphwright.ir.types import DType, StateType, TensorType

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


def numbers_of(value: Value) -> Numbers:
    """What a kernel takes the numbers of a cache, or of keys and values that a graph computed, as: f16 as it is."""
    return "float16" if value.tensor.dtype is DType.F16 and value.weight is None else "float32"


def bits_of(codes: Value) -> Bits:
    """Of a code, where a value holds codes: two are in a byte of u8."""
    return 4 if codes.tensor.dtype is DType.U8 else 8


def emit_kv_append(e: Emitter, op: Op) -> None:
    cache, new = op.required("cache"), op.required("new")
    assert isinstance(cache.type, StateType)
    batch, heads, sequence, size = new.type.shape
    counts = [e.value(v) for v in (op.operand("past_length"), op.operand("new_length")) if v is not None]
    (updated,) = e.kernel(
        kv_append,
        [e.value(new), *counts, e.value(cache)],
        [cache.tensor],
        in_place=[1 + len(counts)],
        settings=e.settings,
        tokens=row_count((batch, sequence, ONE)),
        heads=heads.evaluate({}),
        size=size.evaluate({}),
        ring=cache.type.layout == "ring",
        element=type_name(cache.type.dtype),
    )
    e.bind(op.result, updated)


def emit_kv_read(e: Emitter, op: Op) -> None:
    e.bind(op.result, e.value(op.inputs[0]))


def emit_fused_attention(e: Emitter, op: Op) -> None:
    q, k, v, positions = (op.required(name) for name in ("q", "k", "v", "positions"))
    bias, key_positions = op.operand("bias"), op.operand("key_positions")
    key_scale, value_scale = (scale_of(e, op.operand(name)) for name in ("key_scale", "value_scale"))
    batch, heads, queries, size = q.type.shape
    form = AttentionForm(
        heads=heads.evaluate({}),
        kv_heads=k.type.shape[1].evaluate({}),
        head_size=size.evaluate({}),
        value_size=unpacked(v.tensor).shape[3].evaluate({}),
        scale=cast(float, op.attributes["scale"]),
        mask=cast(Mask, op.attributes["mask"]),
        window=cast(int, op.attributes["window"]),
        softcap=cast(float, op.attributes["softcap"]),
        key_length=op.operand("key_length") is not None,
        bias=None if bias is None else "bool" if bias.tensor.dtype is DType.BOOL else "float32",
        bias_ones=(False, False, False, False) if bias is None else _ones(bias.tensor),
        sinks=op.operand("sinks") is not None,
        key_positions=key_positions is not None,
        shared_positions=positions.type.shape[0] is ONE and batch is not ONE,
        shared_key_positions=key_positions is not None and key_positions.type.shape[0] is ONE and batch is not ONE,
        key_scale=None if key_scale is None else key_scale.share,
        value_scale=None if value_scale is None else value_scale.share,
        key_bits=bits_of(k),
        value_bits=bits_of(v),
        key_numbers=numbers_of(k),
        value_numbers=numbers_of(v),
        merged=cast(bool, op.attributes["merged"]),
        ring=cast(int, op.attributes["ring"]),
    )
    optional = [op.operand(name) for name in ("key_length", "bias", "sinks", "key_positions")]
    arguments = [
        e.single(q),
        *(e.value(o) if numbers_of(o) == "float16" else e.single(o) for o in (k, v)),
        e.single(positions),
    ]
    for operand in optional:
        if operand is not None:
            value = e.single(operand)
            arguments.append(e.reshape(value, _four(operand.tensor)) if operand is bias else value)
    arguments += [each.tensor for each in (key_scale, value_scale) if each is not None]
    (y,) = e.kernel(
        attention,
        arguments,
        [e.single_type(op.result.tensor)],
        settings=e.settings,
        form=form,
        queries=queries.constant,
    )
    e.computed(op.result, y)


def _four(type: TensorType) -> tuple[Dim, ...]:
    return (*(ONE,) * (4 - type.rank), *type.shape)


def _ones(type: TensorType) -> tuple[bool, bool, bool, bool]:
    a, b, c, d = (size is ONE for size in _four(type))
    return a, b, c, d
