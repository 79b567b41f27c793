# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Activations times float weights: few rows at the speed of memory, many at that of arithmetic, one packed layout."""

from __future__ import annotations

from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.float_panels import PANEL, panel_count
from graphwright.backends.tvm.kernels.gemm import copy_tile, multiply_tile, tile_for
from graphwright.backends.tvm.kernels.gemv import gemv, group_count, streams_for
from graphwright.backends.tvm.kernels.row_counts import by_count
from graphwright.backends.tvm.tvm_library import T, tirx


def linear(
    cpu: Cpu,
    *,
    settings: Settings,
    tokens: int | None,
    inner: int,
    outer: int,
    weight_dtype: str = "float32",
    bias: bool = False,
) -> Any:
    """x f32 [tokens, inner] times weight [outer, inner] transposed, plus bias: parameters x, weight, (bias,) y.

    The weight is `float32`, `bfloat16` or `float16`, packed as [ceil(outer / 16), inner, 16] (`packing/floats.py`);
    bias is f32 [outer], y f32 [tokens, outer]. Sums are in float32, in an order that depends on nothing but the sizes.
    `tokens=None` takes the number from x.
    """
    panels = panel_count(outer)
    tile, depth, most = tile_for(settings), settings["depth"], settings["few"]
    groups = -(-panels // tile.panels)
    depths = -(-inner // depth)
    copy = copy_tile(cpu, settings, inner)
    multiply = multiply_tile(cpu, settings, inner, outer, weight_dtype, bias)
    few = {rows: gemv(cpu, settings, rows, inner, outer, weight_dtype, bias) for rows in (1, 2, 4, 8) if rows <= most}

    @T.inline
    def by_panels(x: Any, weight: Any, bias_vector: Any, y: Any, count: Any, rows: Any) -> None:
        for group in T.parallel(T.int64(group_count(panels, streams_for(cpu, settings["streams"], rows, panels)))):
            few[rows](x, weight, bias_vector, y, group, count - 1)

    @T.inline
    def by_tiles(x: Any, weight: Any, bias_vector: Any, y: Any, count: Any) -> None:
        with T.sblock("by_tiles"):
            tiles = T.sblock_alloc_buffer((T.ceildiv(count, tile.rows), depths, tile.rows, depth), "float32")
            for t in T.parallel(T.ceildiv(count, tile.rows)):
                copy(x, tiles, t, count)
            # All tiles of x one after another, so that the panels, which are larger, stay in the nearer cache.
            for item in T.parallel(T.ceildiv(count, tile.rows) * groups):
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
        def linear_bias(x_handle: T.handle, weight_handle: T.handle, bias_handle: T.handle, y_handle: T.handle):
            x = T.match_buffer(x_handle, (count, T.int64(inner)), "float32")
            weight = T.match_buffer(weight_handle, (T.int64(panels), T.int64(inner), T.int64(PANEL)), weight_dtype)
            bias_vector = T.match_buffer(bias_handle, (T.int64(outer),), "float32")
            y = T.match_buffer(y_handle, (count, T.int64(outer)), "float32")
            whole(x, weight, bias_vector, y, count)

        return linear_bias

    @T.prim_func(private=True, s_tir=True)
    def linear(x_handle: T.handle, weight_handle: T.handle, y_handle: T.handle):
        x = T.match_buffer(x_handle, (count, T.int64(inner)), "float32")
        weight = T.match_buffer(weight_handle, (T.int64(panels), T.int64(inner), T.int64(PANEL)), weight_dtype)
        y = T.match_buffer(y_handle, (count, T.int64(outer)), "float32")
        whole(x, weight, None, y, count)

    return linear
