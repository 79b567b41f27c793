"""Products with weights."""

from __future__ import annotations

from graphwright.backends.cuda.emit.emitter import FEW, Constant, Emitter, fixed
from graphwright.ir.dims import product
from graphwright.ir.graph import Op

KERNELS = "graphwright.backends.cuda.kernels.linear"


def emit_linear(e: Emitter, op: Op) -> None:
    x, weight = op.required("x"), op.required("weight")
    columns, inner = fixed(op.result.type.shape[-1], "columns"), fixed(weight.type.shape[1], "inner size")
    rows = product(x.type.shape[:-1])
    optional = {name: op.operand(name) for name in ("bias", "gain", "residual")}
    given = {name: None if v is None else e.buffer(v) for name, v in optional.items()}
    pointers = {"x": e.buffer(x), "w": e.buffer(weight), **given, "y": e.make(op.result)}
    kind: Constant = str(op.attributes["kind"]) if op.attributes["gated"] else None
    # Numbers that the code knows: rows of y then begin at addresses that it knows to be aligned.
    shared: dict[str, Constant] = {"N": columns, "K": inner, "KIND": kind, "EMULATED": e.gpu.emulated}
    if rows.constant is not None and rows.constant <= FEW:
        s = e.settings
        constants = {
            "M": rows.constant,
            "EPSILON": op.attribute("epsilon", float),
            "BN": s["columns"],
            "BK": s["depth"],
        }
        programs = e.quotient(op.result.type.shape[-1], s["columns"])
        e.launch(
            f"{KERNELS}:few_rows", programs, pointers, {}, {**shared, **constants}, writes=("y",),
            warps=s["warps"],
        )  # fmt: skip
        return
    assert pointers.pop("gain") is None, "a norm is computed inside of products of few rows alone"
    s = e.settings
    tiles = {"BM": s["tile_rows"], "BN": s["tile_columns"], "BK": s["tile_depth"], "STRIPE": s["stripe"]}
    programs = e.quotient(rows, s["tile_rows"]) * e.quotient(op.result.type.shape[-1], s["tile_columns"])
    e.launch(
        f"{KERNELS}:many_rows", programs, pointers, {"M": rows}, {**shared, **tiles}, writes=("y",),
        warps=s["tile_warps"], stages=s["tile_stages"],
    )  # fmt: skip
