"""Mixtures of experts."""

from __future__ import annotations

import math

from graphwright.backends.cuda.emit.emitter import FEW, Constant, Emitter, fixed, power_of_two
from graphwright.ir.dims import Dim, product
from graphwright.ir.graph import Op
from graphwright.ir.types import DType, TensorType

KERNELS = "graphwright.backends.cuda.kernels.experts"


def emit_moe_experts(e: Emitter, op: Op) -> None:
    x, indices, gate_up, down = (op.required(name) for name in ("x", "indices", "gate_up", "down"))
    tokens, assignments = product(x.type.shape[:-1]), product(indices.type.shape)
    outer, inner = fixed(down.type.shape[1], "outer size"), fixed(down.type.shape[2], "inner size")
    optional = {name: op.operand(name) for name in ("gate_up_bias", "down_bias")}
    biases = {name: None if v is None else e.buffer(v) for name, v in optional.items()}
    experts = fixed(down.type.shape[0], "experts")
    limit = op.attribute("limit", float)
    chosen = fixed(indices.type.shape[-1], "experts of a token")
    shared: dict[str, Constant] = {"EXPERTS": experts}
    units: dict[str, Constant] = {
        "CHOSEN": chosen,
        "KIND": op.attribute("kind", str),
        "GATED": op.attribute("gated", bool),
        "ALPHA": op.attribute("alpha", float),
        "LIMIT": None if limit == math.inf else limit,
        "UP_OFFSET": op.attribute("up_offset", float),
    }
    hidden = e.temporary(TensorType(x.tensor.dtype, (assignments, Dim.of(inner))))
    size, s = fixed(x.type.shape[-1], "size"), e.settings
    given = {"x": e.buffer(x), "gate_up": e.buffer(gate_up), "bias": biases["gate_up_bias"], "hidden": hidden}
    shares, index = e.buffer(op.required("weights")), e.buffer(indices)
    below = {"down": e.buffer(down), "bias": biases["down_bias"]}
    # Each of a few tokens reads the weights of its experts by itself.
    if tokens.constant is not None and tokens.constant <= FEW:
        tile: dict[str, Constant] = {"BN": s["columns"], "BK": s["depth"]}
        e.launch(
            f"{KERNELS}:hidden_of_few", assignments * -(-inner // s["columns"]),
            {"x": given.pop("x"), "indices": index, **given}, {"N": inner},
            {**shared, **units, **tile, "K": size}, writes=("hidden",), warps=s["warps"],
        )  # fmt: skip
        e.launch(
            f"{KERNELS}:down_of_few", tokens * -(-outer // s["columns"]),
            {"hidden": hidden, "indices": index, "shares": shares, **below, "y": e.make(op.result)}, {"N": outer},
            {**shared, **tile, "CHOSEN": chosen, "K": inner}, writes=("y",), warps=s["warps"],
        )  # fmt: skip
        return
    order = e.temporary(TensorType(DType.I32, (assignments,)))
    starts = e.temporary(TensorType(DType.I32, (Dim.of(experts + 1),)))
    e.launch(
        f"{KERNELS}:sort_by_expert", experts, {"indices": index, "order": order, "starts": starts},
        {"COUNT": assignments}, {**shared, "BLOCK": 1024}, writes=("order", "starts"),
    )  # fmt: skip
    sorted_by = {"order": order, "starts": starts}
    rows, columns = s["tile_rows"], s["tile_columns"]
    tiles = e.quotient(assignments, rows) + experts
    tile = {"PADDED_EXPERTS": power_of_two(experts), "BM": rows, "BN": columns, "BK": s["tile_depth"]}
    shared |= {**tile, "EMULATED": e.gpu.emulated}
    e.launch(
        f"{KERNELS}:hidden_of_many", tiles * -(-inner // columns), {"x": given.pop("x"), **sorted_by, **given},
        {"N": inner}, {**shared, **units, "K": size}, writes=("hidden",), warps=s["tile_warps"],
        stages=s["tile_stages"],
    )  # fmt: skip
    parts = e.temporary(TensorType(DType.F32, (assignments, Dim.of(outer))))
    e.launch(
        f"{KERNELS}:down_of_many", tiles * -(-outer // columns),
        {"hidden": hidden, **sorted_by, "shares": shares, **below, "parts": parts}, {"N": outer},
        {**shared, "K": inner}, writes=("parts",), warps=s["tile_warps"], stages=s["tile_stages"],
    )  # fmt: skip
    e.launch(
        f"{KERNELS}:sum_of_chosen", tokens * -(-outer // 1024), {"parts": parts, "y": e.make(op.result)},
        {"N": outer}, {"CHOSEN": chosen, "BLOCK": 1024}, writes=("y",),
    )  # fmt: skip
