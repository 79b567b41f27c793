"""Rows of a packed table: the embedding of a table that products read too, so that it is stored once."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.codes import PackedTensors, each_group, load_scale
from graphwright.backends.tvm.kernels.script import iteration, prim_func, root, store, tensor, variable
from graphwright.backends.tvm.tvm_library import T, builder
from graphwright.ir.dialects.cpu.packed_weights import LANES, PackedWeight


def quantized_rows(cpu: Cpu, *, tokens: int | None, table: PackedWeight) -> Any:
    """y[i] = table[ids[i]] as float32; an id outside the table reads the nearest row of it.

    Parameters: ids i64[tokens]; the arrays of `PackedTensors`; y f32[tokens, inner].
    """

    def quantized_rows() -> None:
        count = variable("tokens") if tokens is None else tokens
        ids = tensor("ids", (count,), "int64")
        packed = PackedTensors.parameters(table)
        y = tensor("y", (count, table.inner), "float32")
        loop = builder.serial(count) if tokens == 1 else builder.parallel(count)
        with root(), iteration("row", loop, count, [ids, *packed.buffers], [y]) as token:
            row = T.Cast("int32", T.max(T.min(ids[token], T.int64(table.outer - 1)), T.int64(0)))
            block, lane = T.floordiv(row, LANES), T.floormod(row, LANES)

            def group(number: Any, length: int) -> None:
                scale = load_scale(cpu, table, packed.scales, block, number, lane)
                zero: Any = table.origin
                if packed.zero_points is not None:
                    zero = T.Cast("int32", packed.zero_points[block, number, lane])
                with builder.serial(length) as k:
                    column = number * table.group + k
                    place = T.floormod(column, table.step)
                    byte = packed.codes[block, T.floordiv(column, table.step), lane * 4 + T.floormod(place, 4)]
                    code = T.Cast("int32", byte)
                    if table.bits == 4:
                        code = T.shift_right(code, 4 * T.floordiv(place, 4)) & 15
                    value = T.Cast("float32", code - zero) * scale
                    if packed.minimums is not None:
                        value = value + load_scale(cpu, table, packed.minimums, block, number, lane)
                    store(y, value, token, column)

            each_group(table, group)

    return prim_func(quantized_rows)
