# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Activations rounded to bfloat16 times bfloat16 weights: the loops of float products, over pairs of columns."""

from __future__ import annotations

from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.bf16_pairs import (
    PAIR,
    definitions,
    pair_count,
    rounded_last,
    rounded_pairs,
)
from graphwright.backends.tvm.kernels.float_panels import PANEL, panel_count
from graphwright.backends.tvm.kernels.gemm import multiply_tile, tile_for
from graphwright.backends.tvm.kernels.gemv import gemv, group_count, streams_for
from graphwright.backends.tvm.kernels.row_counts import by_count
from graphwright.backends.tvm.tvm_library import T, tirx


def bf16_linear(cpu: Cpu, *, settings: Settings, tokens: int | None, inner: int, outer: int, bias: bool = False) -> Any:
    """x f32 [tokens, inner], rounded to bfloat16, times weight [outer, inner] transposed, plus bias, as y.

    Parameters x, weight, (bias,) y. The weight is pairs of bfloat16 numbers, i32 [ceil(outer / 16), ceil(inner / 2),
    16], in the order of `library/layouts.py`; bias is f32 [outer], y f32 [tokens, outer]. Sums are in float32, pair
    after pair, however many rows there are. `tokens=None` takes the number from x.
    """
    panels, pairs = panel_count(outer), pair_count(inner)
    tile, depth, most = tile_for(settings), settings["depth"], settings["few"]
    groups = -(-panels // tile.panels)
    depths = -(-pairs // depth)
    round_row, round_tile = _round_row(cpu, inner), _round_tile(cpu, settings, inner)
    multiply = multiply_tile(cpu, settings, pairs, outer, PAIR, bias)
    few = {rows: gemv(cpu, settings, rows, pairs, outer, PAIR, bias) for rows in (1, 2, 4, 8) if rows <= most}

    @T.inline
    def one_row(x: Any, weight: Any, bias_vector: Any, y: Any) -> None:
        for group in T.parallel(T.int64(group_count(panels, streams_for(cpu, settings["streams"], 1, panels)))):
            with definitions(cpu):
                # Each share rounds the row for itself, which takes less than to wait for another thread.
                row = T.alloc_buffer((1, pairs), PAIR, scope="local", annotations={"disable_lower_builtin": True})
                round_row(x, 0, row)
                few[1](row, weight, bias_vector, y, group, 0)

    @T.inline
    def several_rows(x: Any, weight: Any, bias_vector: Any, y: Any, count: Any, rows: Any) -> None:
        with T.sblock("by_panels"):
            rounded = T.sblock_alloc_buffer((count, pairs), PAIR)
            for row in T.parallel(count):
                with definitions(cpu):
                    round_row(x, row, rounded)
            for group in T.parallel(T.int64(group_count(panels, streams_for(cpu, settings["streams"], rows, panels)))):
                with definitions(cpu):
                    few[rows](rounded, weight, bias_vector, y, group, count - 1)

    @T.inline
    def by_panels(x: Any, weight: Any, bias_vector: Any, y: Any, count: Any, rows: Any) -> None:
        if rows == 1:
            one_row(x, weight, bias_vector, y)
        else:
            several_rows(x, weight, bias_vector, y, count, rows)

    @T.inline
    def by_tiles(x: Any, weight: Any, bias_vector: Any, y: Any, count: Any) -> None:
        with T.sblock("by_tiles"):
            tiles = T.sblock_alloc_buffer((T.ceildiv(count, tile.rows), depths, tile.rows, depth), PAIR)
            for t in T.parallel(T.ceildiv(count, tile.rows)):
                with definitions(cpu):
                    round_tile(x, tiles, t, count)
            # All tiles of x one after another, so that the panels, which are larger, stay in the nearer cache.
            for item in T.parallel(T.ceildiv(count, tile.rows) * groups):
                with definitions(cpu):
                    multiply(
                        tiles,
                        weight,
                        bias_vector,
                        y,
                        item % T.ceildiv(count, tile.rows),
                        item // T.ceildiv(count, tile.rows),
                        count,
                    )

    whole = by_count(tokens, most, by_panels, by_tiles)
    count = tirx.Var("tokens", "int64") if tokens is None else T.int64(tokens)
    if bias:

        @T.prim_func(private=True, s_tir=True)
        def bf16_linear_bias(x_handle: T.handle, weight_handle: T.handle, bias_handle: T.handle, y_handle: T.handle):
            x = T.match_buffer(x_handle, (count, T.int64(inner)), "float32")
            weight = T.match_buffer(weight_handle, (T.int64(panels), T.int64(pairs), T.int64(PANEL)), PAIR)
            bias_vector = T.match_buffer(bias_handle, (T.int64(outer),), "float32")
            y = T.match_buffer(y_handle, (count, T.int64(outer)), "float32")
            whole(x, weight, bias_vector, y, count)

        return bf16_linear_bias

    @T.prim_func(private=True, s_tir=True)
    def bf16_linear(x_handle: T.handle, weight_handle: T.handle, y_handle: T.handle):
        x = T.match_buffer(x_handle, (count, T.int64(inner)), "float32")
        weight = T.match_buffer(weight_handle, (T.int64(panels), T.int64(pairs), T.int64(PANEL)), PAIR)
        y = T.match_buffer(y_handle, (count, T.int64(outer)), "float32")
        whole(x, weight, None, y, count)

    return bf16_linear


def _round_row(cpu: Cpu, inner: int) -> Any:
    """A script function `(x, row, rounded)`: a row of x as pairs in that row of `rounded`."""
    lanes = cpu.float_lanes
    whole = inner // 2

    @T.inline
    def round_row(x: Any, row: Any, rounded: Any) -> None:
        for v in T.serial(whole // lanes):
            rounded[row, T.ramp(v * lanes, 1, lanes)] = rounded_pairs(cpu, x, row, v * lanes, lanes)
        for pair in T.serial(whole // lanes * lanes, whole):
            rounded[row, pair] = rounded_pairs(cpu, x, row, pair, 1)
        if inner % 2 == 1:
            rounded[row, whole] = rounded_last(x, row, inner - 1)

    return round_row


def _round_tile(cpu: Cpu, settings: Settings, inner: int) -> Any:
    """A script function `(x, tiles, tile, count)` as that of `copy_tile`: pairs [tile, pairs / depth, rows, depth]."""
    rows, depth_pairs, lanes = tile_for(settings).rows, settings["depth"], cpu.float_lanes
    whole, rest = divmod(inner // 2, depth_pairs)

    @T.inline
    def round_columns(x: Any, tiles: Any, tile: Any, i: Any, row: Any) -> None:
        for depth in T.serial(whole):
            for v in T.unroll(depth_pairs // lanes):
                tiles[tile, depth, i, T.ramp(v * lanes, 1, lanes)] = rounded_pairs(
                    cpu, x, row, depth * depth_pairs + v * lanes, lanes
                )
        for pair in T.serial(rest):
            tiles[tile, whole, i, pair] = rounded_pairs(cpu, x, row, whole * depth_pairs + pair, 1)
        if inner % 2 == 1:
            tiles[tile, whole, i, rest] = rounded_last(x, row, inner - 1)

    @T.inline
    def round_tile(x: Any, tiles: Any, tile: Any, count: Any) -> None:
        with T.sblock("round_tile"):
            for i in T.unroll(rows):
                round_columns(x, tiles, tile, i, T.min(tile * rows + i, count - 1))

    return round_tile
