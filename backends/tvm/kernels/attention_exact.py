# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""One query's attention, key by key: what stands in for a result that is not finite.

A cache may hold garbage at keys that a query does not see. Tiles multiply it by 0, and 0 times NaN is NaN: rare enough
that the row is done again, without these keys, rather than every value looked at.
"""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.kernels.attention_form import AttentionForm
from graphwright.backends.tvm.kernels.attention_operands import bias_at, bounds, floats_of, key_place, ring_begin
from graphwright.backends.tvm.kernels.fast_math import differs, exp, is_finite, is_nonzero, tanh
from graphwright.backends.tvm.kernels.tir import larger
from graphwright.backends.tvm.tvm_library import T

MINUS_INFINITY = float("-inf")


def scaled(scale: Any, share: str | None, b: Any, head: Any, key: Any, d: Any) -> Any:
    """The scale of one number of a cache."""
    index = {"tensor": (0,), "channel": (head, d), "token": (b, head, key)}
    return T.float32(1) if share is None else scale[index[share]]


def exact_row(form: AttentionForm) -> Any:
    """row(operands, b, head, query, scratch, target, store): the result of a query; store(d) is an index of target."""
    group = form.group

    def sees(operands: Any, b: Any, head: Any, query: Any, key: Any) -> Any:
        position = T.Cast("int32", operands.positions[0 if form.shared_positions else b, query])
        low, end = bounds(form, position)
        seen = T.bool(True)
        if form.key_positions:
            place = operands.key_positions[0 if form.shared_key_positions else b, key]
            seen, key_at = place >= T.int64(0), T.Cast("int32", place)
        else:
            key_at = key
        if form.key_length:
            seen = T.And(seen, key < T.Cast("int32", operands.key_length[b]))
        seen = T.And(seen, T.And(key_at >= low, key_at < end))
        return T.And(seen, bias_at(form, operands.bias, b, head, query, key)) if form.bias == "bool" else seen

    @T.inline
    def score(operands: Any, b: Any, head: Any, query: Any, key: Any, scratch: Any) -> None:
        scratch[0] = T.float32(0)
        for d in range(form.head_size):
            scale = T.meta_var(scaled(operands.key_scale, form.key_scale, b, head // group, key, d))
            element = T.meta_var(floats_of(operands.k, b, head // group, key, d, 1) * scale)
            scratch[0] += operands.q[b, head, query, d] * T.float32(form.scale) * element
        # A store for each step: TVM would write a nested expression out once for every use of it.
        if form.softcap > 0:
            scratch[0] = scratch[0] / T.float32(form.softcap)
            scratch[0] = tanh(scratch[0])
            scratch[0] = scratch[0] * T.float32(form.softcap)
        if form.bias == "float32":
            scratch[0] = scratch[0] + bias_at(form, operands.bias, b, head, query, key)
        if T.Not(sees(operands, b, head, query, key)):
            scratch[0] = T.float32(MINUS_INFINITY)

    @T.inline
    def row(operands: Any, b: Any, head: Any, query: Any, scratch: Any, target: Any, store: Any) -> None:
        scratch[1] = T.float32(MINUS_INFINITY)
        scratch[2] = T.float32(0)
        if form.sinks:
            scratch[1] = operands.sinks[head]
            scratch[2] = T.float32(1)
        for n in range(operands.capacity):
            key = T.meta_var(key_place(form, n, ring_begin(form, operands, b) if form.ring > 0 else 0))
            score(operands, b, head, query, key, scratch)
            scratch[3] = larger(scratch[0], scratch[1])
            # Both may be minus infinity: then there is nothing to bring down.
            if scratch[3] > scratch[1]:
                scratch[2] = scratch[2] * exp(scratch[1] - scratch[3])
                scratch[1] = scratch[3]
            if differs(scratch[0], MINUS_INFINITY):
                scratch[2] += exp(scratch[0] - scratch[1])
        for d in range(form.value_size):
            target[store(d)] = T.float32(0)
        for n in range(operands.capacity):
            key = T.meta_var(key_place(form, n, ring_begin(form, operands, b) if form.ring > 0 else 0))
            score(operands, b, head, query, key, scratch)
            if differs(scratch[0], MINUS_INFINITY):
                scratch[3] = exp(scratch[0] - scratch[1]) / scratch[2]
                if is_nonzero(scratch[3]):
                    for d in range(form.value_size):
                        scale = T.meta_var(scaled(operands.value_scale, form.value_scale, b, head // group, key, d))
                        value = T.meta_var(floats_of(operands.v, b, head // group, key, d, 1) * scale)
                        # What is seen and not finite gives NaN, infinity too.
                        term = T.meta_var(T.Select(is_finite(value), scratch[3] * value, T.float32(float("nan"))))
                        target[store(d)] = target[store(d)] + term

    return row
