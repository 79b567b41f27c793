"""Products with weights."""

from __future__ import annotations

from collections.abc import Mapping

from graphwright.backends.cuda.emit.emitter import FEW, Constant, Emitter, fixed
from graphwright.backends.cuda.emit.splitting import split_memory
from graphwright.backends.plan import Buffer
from graphwright.ir.dims import Dim, product
from graphwright.ir.graph import Op

KERNELS = "graphwright.backends.cuda.kernels.linear"


def emit_linear(e: Emitter, op: Op) -> None:
    x, weight = op.required("x"), op.required("weight")
    optional = {name: op.operand(name) for name in ("bias", "gain", "residual")}
    given = {name: None if v is None else e.buffer(v) for name, v in optional.items()}
    pointers = {"x": e.buffer(x), "w": e.buffer(weight), **given}
    rows = product(x.type.shape[:-1])
    if rows.constant is not None and rows.constant <= FEW:
        _emit_few(e, op, rows, pointers)
        return
    assert pointers.pop("gain") is None, "a norm is computed inside of products of few rows alone"
    s = e.settings
    tiles = {"BM": s["tile_rows"], "BN": s["tile_columns"], "BK": s["tile_depth"], "STRIPE": s["stripe"]}
    programs = e.quotient(rows, s["tile_rows"]) * e.quotient(op.result.type.shape[-1], s["tile_columns"])
    e.launch(
        f"{KERNELS}:many_rows", programs, {**pointers, "y": e.make(op.result)}, {"M": rows},
        {**_sizes(op), **tiles, "EMULATED": e.gpu.emulated}, writes=("y",), warps=s["tile_warps"],
        stages=s["tile_stages"],
    )  # fmt: skip


def _emit_few(e: Emitter, op: Op, rows: Dim, pointers: Mapping[str, Buffer | None]) -> None:
    """At most 16 rows: their number is a size, so that batches share code; one row has a kernel of its own."""
    s, sizes = e.settings, _sizes(op)
    splits, tiles = s["splits"], e.quotient(op.result.type.shape[-1], s["columns"])
    columns = Dim.of(fixed(op.result.type.shape[-1], "columns"))
    constants: dict[str, Constant] = {
        **sizes,
        "EPSILON": op.attribute("epsilon", float),
        "SPLITS": splits,
        "BN": s["columns"],
        "BK": s["depth"],
    }
    one = rows.constant == 1
    if not one:
        constants["EMULATED"] = e.gpu.emulated
    # Of one row each tile also leaves the sum of squares that a norm needs.
    memory = split_memory(e, splits, columns + tiles if one else rows * columns)
    e.launch(
        f"{KERNELS}:{'one_row' if one else 'few_rows'}", tiles * splits,
        {**pointers, **memory, "y": e.make(op.result)}, {} if one else {"M": rows}, constants,
        writes=("partial", "y"), updates=("arrived",), warps=s["warps"],
    )  # fmt: skip


def _sizes(op: Op) -> dict[str, Constant]:
    """Numbers that the code knows: rows of y then begin at addresses that it knows to be aligned."""
    return {
        "N": fixed(op.result.type.shape[-1], "columns"),
        "K": fixed(op.required("weight").type.shape[1], "inner size"),
        "KIND": str(op.attributes["kind"]) if op.attributes["gated"] else None,
    }
