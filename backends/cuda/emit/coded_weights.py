"""Products with weights of codes, and rows of tables of codes."""

from __future__ import annotations

from graphwright.backends.cuda.emit.emitter import FEW, Constant, Emitter, fixed, power_of_two
from graphwright.backends.cuda.emit.splitting import split_memory
from graphwright.backends.cuda.library.layouts import PARTS, codes_in_a_byte, read_element
from graphwright.backends.plan import Buffer
from graphwright.ir.dims import product
from graphwright.ir.graph import Op
from graphwright.ir.types import QuantizedType

KERNELS = "graphwright.backends.cuda.kernels.coded_linear"
PIECE = 32
"""Codes of which sums are taken at once, where all of a row have one scale."""


def emit_coded_linear(e: Emitter, op: Op) -> None:
    x = op.required("x")
    columns, rows = fixed(op.result.type.shape[-1], "columns"), product(x.type.shape[:-1])
    optional = {name: op.operand(name) for name in ("bias", "gain", "residual")}
    given = {name: None if v is None else e.buffer(v) for name, v in optional.items()}
    pointers = {"x": e.buffer(x), **_parts(e, op), **given}
    described = _described(op)
    group, s = described["GROUP"], e.settings
    assert isinstance(group, int)
    splits = s["splits"]
    shared: dict[str, Constant] = {
        **described,
        "EPSILON": op.attribute("epsilon", float),
        "KIND": str(op.attributes["kind"]) if op.attributes["gated"] else None,
        "SPLITS": splits,
    }
    if rows.constant == 1:
        tiles = {"BN": s["columns"], "BK": max(s["depth"], group)}
        programs = e.quotient(op.result.type.shape[-1], s["columns"])
        memory = split_memory(e, splits, programs + columns)
        e.launch(
            f"{KERNELS}:one_row_of_codes", programs * splits, {**pointers, **memory, "y": e.make(op.result)},
            {"N": columns}, {**shared, **tiles}, writes=("partial", "y"), updates=("arrived",), warps=s["warps"],
        )  # fmt: skip
        return
    few = rows.constant is not None and rows.constant <= FEW
    tile = {name: s[f"few_{name}" if few else f"tile_{name}"] for name in ("columns", "depth", "warps", "stages")}
    height = FEW if few else s["tile_rows"]
    tiles = {"BM": height, "BN": tile["columns"], "BK": max(tile["depth"], group), "STRIPE": s["stripe"]}
    programs = e.quotient(rows, height) * e.quotient(op.result.type.shape[-1], tile["columns"])
    memory = split_memory(e, splits, rows * columns)
    e.launch(
        f"{KERNELS}:rows_of_codes", programs * splits, {**pointers, **memory, "y": e.make(op.result)},
        {"M": rows, "N": columns}, {**shared, **tiles, "EMULATED": e.gpu.emulated}, writes=("partial", "y"),
        updates=("arrived",), warps=tile["warps"], stages=tile["stages"],
    )  # fmt: skip


def emit_quantized_embedding(e: Emitter, op: Op) -> None:
    rows, described = op.required("indices"), _described(op)
    group, inner = described["GROUP"], described["K"]
    assert isinstance(group, int)
    assert isinstance(inner, int)
    pointers = {**_parts(e, op), "rows": e.buffer(rows), "y": e.make(op.result)}
    constants = {**described, "PADDED": max(power_of_two(inner), group)}
    sizes = {"COUNT": op.required("weight").type.shape[0]}
    e.launch(f"{KERNELS}:table_rows_of_codes", product(rows.type.shape), pointers, sizes, constants, writes=("y",))


def _parts(e: Emitter, op: Op) -> dict[str, Buffer | None]:
    arrays = e.laid_out(op, "weight")
    return {name: arrays.get(name) for name in PARTS}


def _described(op: Op) -> dict[str, Constant]:
    """What kernels know of a matrix of codes."""
    type = op.required("weight").type
    assert isinstance(type, QuantizedType)
    return {
        "K": fixed(type.shape[1], "inner size"),
        "ELEMENT": str(read_element(type)),
        "PER": codes_in_a_byte(type),
        "GROUP": type.group or PIECE,
        "GROUPS": fixed(type.scale_shape[1], "groups"),
    }
