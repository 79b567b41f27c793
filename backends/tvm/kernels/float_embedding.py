# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Rows of a float table by their numbers: of a plain one, or of one packed for products that shares its memory."""

from __future__ import annotations

from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.bf16_pairs import PAIR, first, pair_count, second
from graphwright.backends.tvm.kernels.float_panels import PANEL, panel_count, widened
from graphwright.backends.tvm.tvm_library import T, tirx


def embedding_rows(
    cpu: Cpu,
    *,
    settings: Settings,
    tokens: int | None,
    rows: int,
    columns: int,
    weight_dtype: str = "float32",
    packed: bool,
) -> Any:
    """y f32 [tokens, columns] = rows of a table by ids i64 [tokens]: parameters ids, table, y.

    The table is `float32`, `bfloat16` or `float16`, [rows, columns], or [ceil(rows / 16), columns, 16] if it is packed
    (`library/layouts.py`); or, packed, `int32` pairs of bfloat16 numbers, [ceil(rows / 16), ceil(columns / 2), 16].
    Ids are taken to be in its range. `tokens=None` takes the number from ids.
    """
    count = tirx.Var("tokens", "int64") if tokens is None else T.int64(tokens)
    wide: Any = T.int64
    depth = pair_count(columns) if weight_dtype == PAIR else columns
    shape: Any = (wide(panel_count(rows)), wide(depth), wide(PANEL)) if packed else (wide(rows), wide(columns))
    # What one thread takes at a time, so that a single row keeps several busy.
    share = settings["share"]
    whole, rest = divmod(columns, share)
    shares = -(-columns // share)
    lanes = cpu.float_lanes

    @T.inline
    def copy_packed(ids: Any, table: Any, y: Any, token: Any, start: Any, number: int) -> None:
        for c in T.serial(number):
            y[token, start + c] = widened(
                cpu, table[ids[token] // PANEL, start + c, ids[token] % PANEL], weight_dtype, 1
            )

    @T.inline
    def copy_plain(ids: Any, table: Any, y: Any, token: Any, start: Any, number: int) -> None:
        for v in T.unroll(number // lanes):
            y[token, T.ramp(start + v * lanes, 1, lanes)] = widened(
                cpu, table[ids[token], T.ramp(start + v * lanes, 1, lanes)], weight_dtype, lanes
            )
        for c in T.serial(number // lanes * lanes, number):
            y[token, start + c] = widened(cpu, table[ids[token], start + c], weight_dtype, 1)

    @T.inline
    def copy_pairs(ids: Any, table: Any, y: Any, token: Any, start: Any, number: int) -> None:
        for c in T.serial(number):
            pair: T.let[T.int32] = table[ids[token] // PANEL, (start + c) // 2, ids[token] % PANEL]
            y[token, start + c] = T.Select((start + c) % 2 == 0, first(pair, 1), second(pair, 1))

    packed_copy = copy_pairs if weight_dtype == PAIR else copy_packed
    copy = packed_copy if packed else copy_plain

    @T.prim_func(private=True, s_tir=True)
    def embedding_rows(ids_handle: T.handle, table_handle: T.handle, y_handle: T.handle):
        ids = T.match_buffer(ids_handle, (count,), "int64")
        table = T.match_buffer(table_handle, shape, weight_dtype)
        y = T.match_buffer(y_handle, (count, T.int64(columns)), "float32")
        for item in T.parallel(count * shares):
            if item % shares < whole:
                copy(ids, table, y, item // shares, item % shares * share, share)
            else:
                copy(ids, table, y, item // shares, T.int64(whole * share), rest)

    return embedding_rows
