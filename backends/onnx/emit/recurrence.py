"""Emission of what carries a recurrent state: as loops over the tokens in the standard set, as kernels where there are.

Padding is kept out of the state by making its tokens do nothing: a key of zero and no decay.
"""

from collections.abc import Sequence
from typing import Any

from graphwright.backends.onnx.element_types import ONNX_TYPES
from graphwright.backends.onnx.emit.emitter import MICROSOFT, Emission, Emitter
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.ort.recurrence import linear_attention, stateful_conv
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.types import DType


def _state(e: Emitter, op: Op) -> str:
    """The state at the start: the operand, or zeros."""
    state = op.operand("state")
    if state is not None:
        return e.name(state)
    type = op.results[1].tensor
    return e.node("Expand", e.filled(0.0 if type.dtype.is_float else 0, type.dtype), e.shape(type.shape))


def _real(e: Emitter, op: Op, tokens: Dim, rank: int, axis: int) -> str:
    """Which tokens are no padding, bool of that rank: the batch first, the tokens at the axis. Empty if all are."""
    lengths = op.operand("new_length")
    if lengths is None:
        return ""
    count = e.node("Range", e.filled(0, DType.I64), e.scalar(tokens), e.filled(1, DType.I64))
    column = e.node("Unsqueeze", e.name(lengths), e.integers(1))
    real = e.node("Less", count, column)
    others = [i for i in range(1, rank) if i != axis]
    return e.node("Unsqueeze", real, e.integers(*others)) if others else real


def _still(e: Emitter, x: str, real: str, dtype: DType) -> str:
    """x with zeros for padding."""
    return e.node("Where", real, x, e.filled(0.0 if dtype.is_float else 0, dtype)) if real else x


def _is_used(op: Op, e: Emitter, result: int) -> bool:
    value = op.results[result]
    return bool(value.uses) or e.graph.is_output(value)


# -- convolution


def emit_causal_conv(e: Emitter, op: Op) -> None:
    x, weight, bias = e.operands(op)[:3]
    y, _ = op.results
    dilation = op.attribute("dilation", int)
    options: dict[str, Any] = {"group": op.attribute("groups", int), "dilations": [dilation]}
    if op.operand("state") is None and not _is_used(op, e, 1):
        past = op.results[1].tensor.shape[2].evaluate({})
        e.outputs("Conv", [x, weight, bias], [e.name(y)], pads=[past, 0], **options)
        return
    joined = e.node("Concat", _state(e, op), x, axis=2)
    e.outputs("Conv", [joined, weight, bias], [e.name(y)], **options)
    _last_inputs(e, op, joined)


def emit_stateful_conv(e: Emitter, op: Op) -> None:
    x, weight, bias, _, lengths = e.operands(op)
    state, (y, last) = _state(e, op), (e.name(v) for v in op.results)
    # The kernel's own state is that of the last token, padding or not.
    own = e.unused("CausalConvWithState") if lengths else last
    e.outputs(
        "CausalConvWithState", [x, weight, bias, state], [y, own], MICROSOFT, dilation=op.attribute("dilation", int)
    )
    if lengths and _is_used(op, e, 1):
        _last_inputs(e, op, e.node("Concat", state, x, axis=2))


def _last_inputs(e: Emitter, op: Op, joined: str) -> None:
    """The final state, out of the state at the start and the inputs joined along the last axis."""
    type = op.results[1].tensor
    past = type.shape[2].evaluate({})
    lengths = op.operand("new_length")
    if lengths is None:
        last = e.integers(-past), e.integers(2**62), e.integers(2)
        e.outputs("Slice", [joined, *last], [e.name(op.results[1])])
        return
    places = e.node("Add", e.node("Unsqueeze", e.name(lengths), e.integers(1, 2)), e.constant(torch.arange(past)))
    places = e.node("Expand", places, e.shape(type.shape))
    e.outputs("GatherElements", [joined, places], [e.name(op.results[1])], axis=2)


# -- sums


def emit_running_sum(e: Emitter, op: Op) -> None:
    type, axis = op.results[0].tensor, op.attribute("axis", int)
    axis %= type.rank
    x, total = e.operands(op)[0], ""
    dtype, at = type.dtype, e.integers(axis)
    state = op.operand("state")
    sums = e.node("CumSum", x, e.filled(axis, DType.I64))
    if _is_used(op, e, 1):
        real = _real(e, op, type.shape[axis], type.rank, axis)
        total = e.node("ReduceSum", _still(e, x, real, dtype), at, keepdims=0)
    if state is not None:
        sums = e.node("Add", sums, e.node("Unsqueeze", e.name(state), at))
        total = e.node("Add", total, e.name(state)) if total else ""
    e.outputs("Identity", [sums], [e.name(op.results[0])])
    if total:
        e.outputs("Identity", [total], [e.name(op.results[1])])


# -- linear attention


def emit_linear_attention(e: Emitter, op: Op) -> None:
    q, k, v, decay, beta, _, _ = e.operands(op)
    type = op.required("v").tensor
    real = _real(e, op, type.shape[1], 3, 1)
    k = _still(e, k, real, type.dtype)
    decay = _still(e, decay, real, type.dtype) if decay else ""
    rule = ("delta" if beta else "linear") if not decay else ("gated_delta" if beta else "gated")
    e.results(
        op,
        "LinearAttention",
        q,
        k,
        v,
        _state(e, op),
        decay,
        beta,
        domain=MICROSOFT,
        q_num_heads=op.attribute("groups", int),
        kv_num_heads=op.attribute("heads", int),
        update_rule=rule,
        scale=1.0,
    )


def emit_linear_recurrence(e: Emitter, op: Op) -> None:
    q, k, v, decay, rates, beta, _, _ = e.operands(op)
    type = op.required("v").tensor
    batch, heads, tokens, values = type.shape
    groups, keys = (op.required("k").tensor.shape[i] for i in (1, 3))
    share = heads.exact_div(groups)
    assert share is not None
    one, dtype = Dim.of(1), type.dtype
    real = _real(e, op, tokens, 4, 2)
    k = _still(e, k, real, dtype)
    single = values is one
    # A head with one value has its keys along the last axis: then a step is a product of the whole state with q.
    matrix = (keys,) if single else (keys, values)
    state = e.node("Reshape", _state(e, op), e.shape((batch, groups, share, *matrix)))
    sequences = {q: 2, k: 2}
    for x, last in ((v, values), (decay, op.operand("decay")), (beta, None)):
        if not x:
            continue
        if x == decay:
            x = _still(e, x, real, dtype)
        length = [] if last is None else [last if isinstance(last, Dim) else last.type.shape[3]]
        sequences[e.node("Reshape", x, e.shape((batch, groups, share, tokens, *length)))] = 3
    if rates:
        operand = op.required("rates")
        rates = e.node("Reshape", rates, e.shape((groups, share, operand.type.shape[1])))

    def step(given: Sequence[str], elements: Sequence[str]) -> tuple[str, str]:
        (h,) = given
        query, key, value, *rest = elements
        if decay:
            logarithm = e.node("Mul", rest[0], rates) if rates else rest[0]
            factor = e.node("Exp", logarithm)
            h = e.node("Mul", factor if single else e.node("Unsqueeze", factor, e.integers(-1)), h)
        if single:
            column, row = e.node("Unsqueeze", key, e.integers(-1)), e.node("Unsqueeze", key, e.integers(2))
            if beta:
                mistake = e.node("Sub", value, e.node("MatMul", h, column))
                value = e.node("Mul", e.node("Unsqueeze", rest[-1], e.integers(-1)), mistake)
            after = e.node("Add", h, e.node("Mul", row, value))
            return after, e.node("MatMul", after, e.node("Unsqueeze", query, e.integers(-1)))
        taken = e.node("Unsqueeze", value, e.integers(3))
        if beta:
            row = e.node("Unsqueeze", key, e.integers(2, 3))
            mistake = e.node("Sub", taken, e.node("MatMul", row, h))
            taken = e.node("Mul", e.node("Unsqueeze", rest[-1], e.integers(3, 4)), mistake)
        after = e.node("Add", h, e.node("Mul", e.node("Unsqueeze", key, e.integers(2, 4)), taken))
        read = e.node("MatMul", e.node("Unsqueeze", query, e.integers(2, 3)), after)
        return after, e.node("Squeeze", read, e.integers(3))

    last, y = e.scan(step, [state], sequences, dtype, 3)
    e.outputs("Reshape", [y, e.shape(type.shape)], [e.name(op.results[0])])
    e.outputs("Reshape", [last, e.shape(op.results[1].tensor.shape)], [e.name(op.results[1])])


# -- RWKV


def emit_weighted_mean(e: Emitter, op: Op) -> None:
    key, value, decay, bonus, _, _ = e.operands(op)
    type = op.required("key").tensor
    dtype = type.dtype
    sequences = {key: 1, value: 1} if key != value else {key: 1, e.node("Identity", value): 1}
    real = _real(e, op, type.shape[1], 3, 1)
    if real:
        sequences[e.node("Cast", real, to=ONNX_TYPES[dtype])] = 1
    low, half = e.filled(float("-inf"), dtype), e.filled(0.5, dtype)
    zero = e.filled(0.0, dtype)

    def step(given: Sequence[str], elements: Sequence[str]) -> tuple[str, str]:
        (state,) = given
        k, v, *counts = elements
        parts = [e.node("Squeeze", e.node("Gather", state, e.integers(i), axis=1), e.integers(1)) for i in range(3)]
        numerator, denominator, largest = parts
        known = e.node("Where", e.node("Greater", denominator, zero), largest, low)

        def weigh(old: str, new: str) -> tuple[str, str, str]:
            top = e.node("Max", old, new)
            before, now = (e.node("Exp", e.node("Sub", x, top)) for x in (old, new))
            taken = e.node("Add", e.node("Mul", before, numerator), e.node("Mul", now, v))
            return taken, e.node("Add", e.node("Mul", before, denominator), now), top

        over, under, _ = weigh(known, e.node("Add", k, bonus))
        columns = [e.node("Unsqueeze", x, e.integers(1)) for x in weigh(e.node("Add", known, decay), k)]
        after = e.node("Concat", *columns, axis=1)
        if counts:
            counted = e.node("Unsqueeze", e.node("Greater", counts[0], half), e.integers(1))
            after = e.node("Where", counted, after, state)
        return after, e.node("Div", over, under)

    last, y = e.scan(step, [_state(e, op)], sequences, dtype, 1)
    e.outputs("Identity", [y], [e.name(op.results[0])])
    e.outputs("Identity", [last], [e.name(op.results[1])])


EMISSIONS: dict[OpDef, Emission] = {
    ops.causal_conv: emit_causal_conv,
    stateful_conv: emit_stateful_conv,
    ops.running_sum: emit_running_sum,
    linear_attention: emit_linear_attention,
    ops.linear_recurrence: emit_linear_recurrence,
    ops.weighted_mean: emit_weighted_mean,
}
