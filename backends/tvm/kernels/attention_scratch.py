"""The scratch of one item of attention: some queries of a group of heads, on the stack of its thread."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from graphwright.backends.tvm.kernels.attention_codes import scratch_of_bytes
from graphwright.backends.tvm.kernels.attention_form import Tiling
from graphwright.backends.tvm.kernels.attention_lanes import scratch_of_lanes
from graphwright.backends.tvm.kernels.attention_query_bytes import scratch_of_query_bytes
from graphwright.backends.tvm.kernels.tir import local_buffer


def allocated(tiling: Tiling) -> Any:
    """The scratch of one item, allocated in the block that is being written."""
    form, lanes, rows = tiling.form, tiling.lanes, tiling.padded_rows

    def local(element: str, *shape: int) -> Any:
        return local_buffer(*shape, element=element)

    return SimpleNamespace(
        low=local("int32", rows),
        end=local("int32", rows),
        low_key=local("int32", 1),
        end_key=local("int32", 1),
        begin=local("int32", 1),
        queries_here=local("int32", 1),
        count=local("int32", 1),
        number_of_keys=local("int32", 1),
        next_key=local("int32", 1),
        ring_begin=local("int32", 1),
        before=local("int32", 1),
        largest=local("float32", rows),
        total=local("float32", rows),
        factor=local("float32", rows),
        block_largest=local("float32", rows),
        block_total=local("float32", rows),
        sums=local("float32", rows, form.value_size),
        **(scratch_of_query_bytes(tiling) if tiling.by_bytes else {}),
        **(scratch_of_lanes(tiling) if tiling.in_lanes else _scratch_of_tiles(tiling)),
        places=local("int32", tiling.keys),
        vector=local("float32", lanes),
        ends=local("int32", 2),
        shared=local("int32", 2),
        number=local("float32", 3),
        check=local("int32", tiling.value_lanes),
        result=local("float32", tiling.value_lanes),
        exact=local("float32", 4),
        values=local("float32", tiling.keys if tiling.values_kept else 1, form.value_size),
        value_tile=[local("float32", tiling.value_vectors, tiling.value_lanes) for _ in range(tiling.tile_rows)],
    )


def _scratch_of_tiles(tiling: Tiling) -> dict[str, Any]:
    """Where rows meet keys that are turned."""

    def local(element: str, *shape: int) -> Any:
        return local_buffer(*shape, element=element)

    form, rows = tiling.form, tiling.tile_rows
    of_queries = {} if tiling.by_bytes else {"queries": local("float32", tiling.row_tiles, form.head_size, rows)}
    parted = tiling.parts > 2 and not tiling.by_bytes
    return {
        **(scratch_of_bytes(tiling) if tiling.by_bytes else of_queries),
        "turned": local("int32" if tiling.by_bytes else "float32", tiling.turned_rows, tiling.keys),
        # A buffer each, so that each is small enough for registers: TVM keeps less than 1 KiB on the stack.
        "tile": [local("float32", tiling.tile_vectors, tiling.lanes) for _ in range(rows)],
        "parted": local("float32", rows, tiling.tile_vectors * tiling.lanes) if parted else None,
        "scores": local("float32", tiling.padded_rows, tiling.keys),
        "unpacked": local("int8", tiling.keys, form.head_size) if form.packed_keys else None,
    }
