"""Emission of what carries a recurrent state along the tokens, and of running sums."""

from typing import Any

from graphwright.backends.tvm.emit.emitter import Emitter, Tensor, type_name
from graphwright.backends.tvm.emit.matrix import convolved
from graphwright.backends.tvm.kernels.linear_recurrence import linear_recurrence
from graphwright.backends.tvm.kernels.running_sum import running_sum
from graphwright.backends.tvm.kernels.weighted_mean import weighted_mean
from graphwright.backends.tvm.tvm_library import te, tirx
from graphwright.ir.dims import product
from graphwright.ir.graph import Op, Value
from graphwright.ir.types import DType, TensorType


def _final(op: Op) -> TensorType:
    """The type of the state at the end."""
    return op.results[1].tensor


def _present(op: Op, *names: str) -> list[Value]:
    return [v for name in names if (v := op.operand(name)) is not None]


# -- convolution


def emit_causal_conv(e: Emitter, op: Op) -> None:
    x, weight = op.required("x"), op.required("weight")
    bias, state, lengths = (op.operand(name) for name in ("bias", "state", "new_length"))
    dilation, groups = op.attributes["dilation"], op.attributes["groups"]
    assert isinstance(dilation, int)
    assert isinstance(groups, int)
    last = _final(op)
    past = last.shape[2].evaluate({})

    def joined(tensors: Any, batch: Any, channel: Any, place: Any) -> Any:
        """An element of the state and the inputs behind it."""
        new = tensors[0](batch, channel, place - past)
        old = tensors[-1](batch, channel, place) if state is not None else tirx.const(0, new.ty.dtype)
        return tirx.if_then_else(place < past, old, new)

    def read(tensors: Any, batch: Any, channel: Any, places: Any) -> Any:
        return joined(tensors, batch, channel, places[0])

    operands = [x, weight, *_present(op, "bias", "state")]
    e.bind(op.results[0], convolved(e, op, operands, weight, read, groups, (1,), (dilation,), bias is not None))
    shape, dtype, tokens = e.shape(last.shape), type_name(last.dtype), e.dim(x.tensor.shape[2])

    def compute(*tensors: Any) -> Any:
        def element(batch: Any, channel: Any, place: Any) -> Any:
            end = tensors[1](batch) if lengths is not None else tokens
            return joined(tensors, batch, channel, end + place).astype(dtype)

        return te.compute(shape, element, name="last_inputs")

    e.bind(op.results[1], e.te(compute, *map(e.wide, [x, *_present(op, "new_length", "state")])))


# -- sums


def _addable(e: Emitter, value: Value) -> Tensor:
    """A tensor as what a kernel adds up: narrow floats as float32, truth as 0 and 1."""
    return e.converted(e.value(value), _sum_type(value.tensor.dtype))


def _sum_type(dtype: DType) -> DType:
    return {DType.BOOL: DType.I64, DType.F16: DType.F32, DType.BF16: DType.F32}.get(dtype, dtype)


def _running_sums(e: Emitter, x: Tensor, given: list[Tensor], type: TensorType, **parameters: Any) -> list[Tensor]:
    """The running sums along the third axis of x, which is of that shape, and the totals."""
    element = _sum_type(type.dtype)
    sums = type.with_dtype(element)
    results = [sums, sums.with_shape(*type.shape[:2], type.shape[3])]
    arguments = [e.reshape(x, type.shape), *given]
    found = e.kernel(running_sum, arguments, results, element=type_name(element), **parameters)
    return [e.converted(each, type.dtype) for each in found]


def emit_cumsum(e: Emitter, op: Op) -> None:
    axis, type = op.attributes["axis"], op.result.tensor
    assert isinstance(axis, int)
    axis %= type.rank
    outer = product(type.shape[:axis])
    flat = type.with_shape(1, outer, type.shape[axis], product(type.shape[axis + 1 :]))
    sums, _ = _running_sums(e, _addable(e, op.inputs[0]), [], flat, state=False, lengths=False)
    e.bind(op.result, e.reshape(sums, type.shape))


def emit_running_sum(e: Emitter, op: Op) -> None:
    axis, type, last = op.attributes["axis"], op.results[0].tensor, _final(op)
    assert isinstance(axis, int)
    axis %= type.rank
    middle, inner = product(type.shape[1:axis]), product(type.shape[axis + 1 :])
    flat = type.with_shape(type.shape[0], middle, type.shape[axis], inner)
    states, lengths = _present(op, "state"), _present(op, "new_length")
    given = [e.reshape(_addable(e, v), (type.shape[0], middle, inner)) for v in states] + [e.value(v) for v in lengths]
    x = _addable(e, op.required("x"))
    sums, total = _running_sums(e, x, given, flat, state=bool(states), lengths=bool(lengths))
    e.bind(op.results[0], e.reshape(sums, type.shape))
    e.bind(op.results[1], e.reshape(total, last.shape))


# -- attention without a cache


def emit_linear_recurrence(e: Emitter, op: Op) -> None:
    k, v, decay, rates = op.required("k"), op.required("v"), op.operand("decay"), op.operand("rates")
    names = ("q", "k", "v", "decay", "rates", "beta", "state", "new_length")
    y, last = e.kernel(
        linear_recurrence,
        [e.single(each) for each in _present(op, *names)],
        [e.single_type(v.tensor), e.single_type(_final(op))],
        heads=v.tensor.shape[1].evaluate({}),
        groups=k.tensor.shape[1].evaluate({}),
        keys=k.tensor.shape[3].evaluate({}),
        values=v.tensor.shape[3].evaluate({}),
        decays=0 if decay is None else decay.tensor.shape[3].evaluate({}),
        rates=0 if rates is None else rates.tensor.shape[1].evaluate({}),
        beta=op.operand("beta") is not None,
        state=op.operand("state") is not None,
        lengths=op.operand("new_length") is not None,
    )
    _bind(e, op, y, last)


def emit_weighted_mean(e: Emitter, op: Op) -> None:
    key = op.required("key")
    y, last = e.kernel(
        weighted_mean,
        [e.single(each) for each in _present(op, "key", "value", "decay", "bonus", "state", "new_length")],
        [e.single_type(key.tensor), e.single_type(_final(op))],
        channels=key.tensor.shape[2].evaluate({}),
        state=op.operand("state") is not None,
        lengths=op.operand("new_length") is not None,
    )
    _bind(e, op, y, last)


def _bind(e: Emitter, op: Op, y: Tensor, last: Tensor) -> None:
    e.bind(op.results[0], e.converted(y, op.results[0].tensor.dtype))
    e.bind(op.results[1], e.converted(last, _final(op).dtype))
