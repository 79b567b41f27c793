# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The product of two computed tensors, batch by batch, whatever their sizes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import mul
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.float_panels import STACK
from graphwright.backends.tvm.tvm_library import T, tirx

Size = int | str
"""The length of an axis: a number, or the name of one that the arguments' shapes give."""


def matmul(cpu: Cpu, *, settings: Settings, x_shape: Sequence[Size], y_shape: Sequence[Size]) -> Any:
    """z f32 [..., m, n] = x f32 [..., m, k] times y f32 [..., k, n]: parameters x, y, z.

    Leading axes broadcast: they are equal, or 1, or missing in x or in y.
    """
    variables: dict[str, Any] = {}

    def size(length: Size) -> Any:
        if isinstance(length, int):
            return T.int64(length)
        return variables.setdefault(length, tirx.Var(length, "int64"))

    batch = broadcast_shape(x_shape[:-2], y_shape[:-2])
    x_sizes, y_sizes = tuple(map(size, x_shape)), tuple(map(size, y_shape))
    batch_sizes: Any = tuple(map(size, batch))
    rows, inner, columns = x_sizes[-2], x_sizes[-1], y_sizes[-1]
    items = reduce(mul, (*batch_sizes, rows))
    lanes = cpu.float_lanes
    # Vectors of columns whose sums stay in registers while a row is multiplied.
    wide = settings["block"]
    width = wide * lanes

    def leading(item: Any, shape: Sequence[Size]) -> list[Any]:
        """The leading indices, into a tensor of that shape, of a row's batch."""
        indices: list[Any] = []
        rest = item // rows
        for length, full in zip(reversed(batch), reversed(batch_sizes), strict=True):
            if len(indices) < len(shape) - 2:
                own = shape[-3 - len(indices)]
                indices.append(T.int64(0) if own == 1 and length != 1 else rest % full)
            rest = rest // full
        return indices[::-1]

    def x_at(x: Any, item: Any, k: Any) -> Any:
        return x[(*leading(item, x_shape), item % rows, k)]

    def y_at(y: Any, item: Any, k: Any, column: Any) -> Any:
        return y[(*leading(item, y_shape), k, column)]

    def store(z: Any, item: Any, column: Any, value: Any) -> None:
        T.buffer_store(z, value, [*leading(item, (*batch, 1, 1)), item % rows, column])

    @T.inline
    def vectors(x: Any, y: Any, z: Any, item: Any, column: Any, count: int) -> None:
        with T.sblock("vectors"):
            sums = T.sblock_alloc_buffer((count, lanes), "float32", scope=STACK)
            for v in T.unroll(count):
                sums[v, T.ramp(0, 1, lanes)] = T.broadcast(T.float32(0), lanes)
            for k in T.serial(inner):
                for v in T.unroll(count):
                    sums[v, T.ramp(0, 1, lanes)] = sums[v, T.ramp(0, 1, lanes)] + T.broadcast(
                        x_at(x, item, k), lanes
                    ) * y_at(y, item, k, T.ramp(column + v * lanes, 1, lanes))
            for v in T.unroll(count):
                store(z, item, T.ramp(column + v * lanes, 1, lanes), sums[v, T.ramp(0, 1, lanes)])

    @T.inline
    def one_column(x: Any, y: Any, z: Any, item: Any, column: Any) -> None:
        with T.sblock("one_column"):
            total = T.sblock_alloc_buffer((1,), "float32", scope=STACK)
            total[0] = T.float32(0)
            for k in T.serial(inner):
                total[0] = total[0] + x_at(x, item, k) * y_at(y, item, k, column)
            store(z, item, column, total[0])

    @T.prim_func(private=True, s_tir=True)
    def matmul(x_handle: T.handle, y_handle: T.handle, z_handle: T.handle):
        x = T.match_buffer(x_handle, x_sizes, "float32")
        y = T.match_buffer(y_handle, y_sizes, "float32")
        z = T.match_buffer(z_handle, (*batch_sizes, rows, columns), "float32")
        for item in T.parallel(items):
            for block in T.serial(columns // width):
                vectors(x, y, z, item, block * width, wide)
            for vector in T.serial(columns % width // lanes):
                vectors(x, y, z, item, columns // width * width + vector * lanes, 1)
            for column in T.serial(columns % lanes):
                one_column(x, y, z, item, columns // lanes * lanes + column)

    return matmul


def broadcast_shape(x: Sequence[Size], y: Sequence[Size]) -> tuple[Size, ...]:
    """The axes that two tensors have together, aligned at the last."""
    longer, shorter = (x, y) if len(x) >= len(y) else (y, x)
    missing: tuple[Size, ...] = (1,) * (len(longer) - len(shorter))
    pairs = zip(longer, (*missing, *shorter), strict=True)
    shape: list[Size] = []
    for one, other in pairs:
        assert 1 in (one, other) or one == other, f"{list(x)} and {list(y)} do not broadcast"
        shape.append(other if one == 1 else one)
    return tuple(shape)
