# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Many rows of activations times float weights, in tiles whose sums stay in registers.

The scheme is that of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008): rows are copied
into tiles that a thread reads from front to back, and a tile of the result is summed up in registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.float_panels import PANEL, STACK, add_column, panel_count, store_panel
from graphwright.backends.tvm.tvm_library import T


@dataclass(frozen=True)
class Tile:
    """What one tile of the result covers: its sums fill most of the registers.

    A tile at the end of x may be lower, by steps of `step` rows.
    """

    rows: int
    panels: int
    step: int


def tile_for(settings: Settings) -> Tile:
    """The tile whose sums, with a column of the weight, fit into the CPU's vector registers."""
    return Tile(settings["tile_rows"], settings["tile_panels"], settings["tile_rows"] // 3)


def copy_tile(cpu: Cpu, settings: Settings, inner: int) -> Any:
    """A script function `(x, tiles, tile, count)` that copies rows of x into [tile, columns / depth, rows, depth].

    Rows past the last of `count` are copies of it. Columns that the last of them lack are not written.
    """
    rows = tile_for(settings).rows
    lanes = cpu.float_lanes
    depth_columns = settings["depth"]
    vectors = depth_columns // lanes
    whole, rest = divmod(inner, depth_columns)

    @T.inline
    def copy(x: Any, tiles: Any, tile: Any, count: Any) -> None:
        with T.sblock("copy_tile"):
            for i in T.unroll(rows):
                for depth in T.serial(whole):
                    for v in T.unroll(vectors):
                        tiles[tile, depth, i, T.ramp(v * lanes, 1, lanes)] = x[
                            T.min(tile * rows + i, count - 1), T.ramp(depth * depth_columns + v * lanes, 1, lanes)
                        ]
                for c in T.unroll(rest):
                    tiles[tile, whole, i, c] = x[T.min(tile * rows + i, count - 1), whole * depth_columns + c]

    return copy


def multiply_tile(cpu: Cpu, settings: Settings, inner: int, outer: int, weight_dtype: str, bias: bool) -> Any:
    """A script function `(tiles, weight, bias, y, tile, group, count)`: y of a tile of rows and a group of panels."""
    shape = tile_for(settings)
    lanes = cpu.float_lanes
    vectors = PANEL // lanes
    # Of more columns in a turn LLVM loads so much ahead that sums leave the registers.
    depth_columns, step = settings["depth"], settings["depth_step"]
    whole, rest = divmod(inner, depth_columns)
    last_panel = panel_count(outer) - 1
    store = store_panel(cpu, outer, bias)

    @T.inline
    def add_one(tiles: Any, weight: Any, tile: Any, panel: Any, sums: Any, depth: Any, column: Any, rows: Any) -> None:
        for v in T.unroll(vectors):
            for i in T.unroll(rows):
                sums[i, T.ramp(v * lanes, 1, lanes)] = add_column(
                    cpu,
                    sums[i, T.ramp(v * lanes, 1, lanes)],
                    tiles[tile, depth, i, column],
                    weight[panel, depth * depth_columns + column, T.ramp(v * lanes, 1, lanes)],
                    weight_dtype,
                    lanes,
                )

    @T.inline
    def add_two(
        tiles: Any,
        weight: Any,
        tile: Any,
        first: Any,
        second: Any,
        left: Any,
        right: Any,
        depth: Any,
        column: Any,
        rows: Any,
    ) -> None:
        for i in T.unroll(rows):
            left[i, T.ramp(0, 1, lanes)] = add_column(
                cpu,
                left[i, T.ramp(0, 1, lanes)],
                tiles[tile, depth, i, column],
                weight[first, depth * depth_columns + column, T.ramp(0, 1, lanes)],
                weight_dtype,
                lanes,
            )
            right[i, T.ramp(0, 1, lanes)] = add_column(
                cpu,
                right[i, T.ramp(0, 1, lanes)],
                tiles[tile, depth, i, column],
                weight[second, depth * depth_columns + column, T.ramp(0, 1, lanes)],
                weight_dtype,
                lanes,
            )

    @T.inline
    def clear(sums: Any, rows: Any) -> None:
        for i in T.unroll(rows):
            for v in T.unroll(vectors):
                sums[i, T.ramp(v * lanes, 1, lanes)] = T.broadcast(T.float32(0), lanes)

    @T.inline
    def multiply_rows(
        tiles: Any, weight: Any, bias_vector: Any, y: Any, tile: Any, group: Any, count: Any, rows: Any
    ) -> None:
        if shape.panels == 2:
            with T.sblock("two_panels"):
                left = T.sblock_alloc_buffer((rows, PANEL), "float32", scope=STACK)
                right = T.sblock_alloc_buffer((rows, PANEL), "float32", scope=STACK)
                first: T.let[T.int64] = T.min(group * 2, last_panel)
                second: T.let[T.int64] = T.min(group * 2 + 1, last_panel)
                clear(left, rows)
                clear(right, rows)
                for depth in T.serial(whole):
                    for part in T.serial(depth_columns // step):
                        for column in T.unroll(step):
                            add_two(
                                tiles,
                                weight,
                                tile,
                                first,
                                second,
                                left,
                                right,
                                depth,
                                part * step + column,
                                rows,
                            )
                for column in T.unroll(rest):
                    add_two(tiles, weight, tile, first, second, left, right, whole, column, rows)
                for i in T.unroll(rows):
                    store(y, bias_vector, T.min(tile * shape.rows + i, count - 1), first, left, i)
                    store(y, bias_vector, T.min(tile * shape.rows + i, count - 1), second, right, i)
        else:
            with T.sblock("one_panel"):
                sums = T.sblock_alloc_buffer((rows, PANEL), "float32", scope=STACK)
                clear(sums, rows)
                for depth in T.serial(whole):
                    for part in T.serial(depth_columns // step):
                        for column in T.unroll(step):
                            add_one(tiles, weight, tile, group, sums, depth, part * step + column, rows)
                for column in T.unroll(rest):
                    add_one(tiles, weight, tile, group, sums, whole, column, rows)
                for i in T.unroll(rows):
                    store(y, bias_vector, T.min(tile * shape.rows + i, count - 1), group, sums, i)

    @T.inline
    def multiply(tiles: Any, weight: Any, bias_vector: Any, y: Any, tile: Any, group: Any, count: Any) -> None:
        if count - tile * shape.rows <= shape.step:
            multiply_rows(tiles, weight, bias_vector, y, tile, group, count, shape.step)
        else:
            if count - tile * shape.rows <= 2 * shape.step:
                multiply_rows(tiles, weight, bias_vector, y, tile, group, count, 2 * shape.step)
            else:
                multiply_rows(tiles, weight, bias_vector, y, tile, group, count, shape.rows)

    return multiply
