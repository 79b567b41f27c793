# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""What becomes of a row's weighted sum: divided, scaled, written, and done again if it is not finite."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.kernels.attention_exact import exact_row
from graphwright.backends.tvm.kernels.attention_form import Tiling
from graphwright.backends.tvm.kernels.attention_operands import result_index
from graphwright.backends.tvm.kernels.attention_tile import or_zero
from graphwright.backends.tvm.kernels.fast_math import INFINITY_BITS, exp, let, magnitude_bits
from graphwright.backends.tvm.kernels.tir import filled, folded, span
from graphwright.backends.tvm.tvm_library import T


def output(tiling: Tiling) -> Any:
    """write(operands, b, head, query, largest, total, sums, row, scratch): row `row` of sums [rows, size of v]."""
    form, lanes = tiling.form, tiling.value_lanes
    redo = exact_row(form)

    def divisor(total: Any) -> Any:
        return let(total, lambda t: T.Select(t == T.float32(0), T.float32(0), T.float32(1) / t))

    def in_units(operands: Any, value: Any, head: Any, at: Any) -> Any:
        if form.value_scale == "tensor":
            return value * filled(operands.value_scale[0], lanes)
        return value * operands.value_scale[head // form.group, at] if form.value_scale == "channel" else value

    def whole(value: int) -> Any:
        return T.broadcast(T.int32(value), lanes) if lanes > 1 else T.int32(value)

    @T.inline
    def write(
        operands: Any, b: Any, head: Any, query: Any, largest: Any, total: Any, sums: Any, row: Any, scratch: Any
    ) -> None:
        # A store for each step: TVM would write a nested expression out once for every use of it.
        if form.sinks:
            scratch.number[1] = largest
            scratch.number[2] = operands.sinks[head]
            scratch.number[0] = T.Select(scratch.number[1] > scratch.number[2], scratch.number[1], scratch.number[2])
            scratch.number[0] = or_zero(scratch.number[0])
            scratch.number[1] = scratch.number[1] - scratch.number[0]
            scratch.number[1] = exp(scratch.number[1])
            scratch.number[2] = scratch.number[2] - scratch.number[0]
            scratch.number[2] = exp(scratch.number[2])
            scratch.number[2] = scratch.number[2] + total * scratch.number[1]
            scratch.number[0] = scratch.number[1] * divisor(scratch.number[2])
        else:
            scratch.number[0] = divisor(total)
        scratch.check[span(0, lanes)] = whole(0)
        for i in range(form.value_size // lanes):
            at = T.meta_var(span(i * lanes, lanes))
            scratch.result[span(0, lanes)] = in_units(
                operands, sums[row, at] * filled(scratch.number[0], lanes), head, at
            )
            bits = T.meta_var(magnitude_bits(scratch.result[span(0, lanes)]))
            scratch.check[span(0, lanes)] = T.max(scratch.check[span(0, lanes)], bits)
            operands.y[result_index(form, b, head, query, at)] = scratch.result[span(0, lanes)]
        if folded(scratch.check[span(0, lanes)], lanes, T.max) >= INFINITY_BITS:
            redo(operands, b, head, query, scratch.exact, operands.y, lambda d: result_index(form, b, head, query, d))

    return write
