"""Rows, and small integers."""

from __future__ import annotations

from graphwright.backends.cuda.emit.emitter import Constant, Emitter, fixed, power_of_two
from graphwright.ir.dims import Dim, product
from graphwright.ir.graph import Op

KERNELS = "graphwright.backends.cuda.kernels.rows"
CHOOSING = "graphwright.backends.cuda.kernels.choosing"


def emit_rms_norm(e: Emitter, op: Op) -> None:
    x = op.required("x")
    inner = fixed(x.type.shape[-1], "row length")
    pointers = {"x": e.buffer(x), "gain": e.buffer(op.required("weight")), "y": e.make(op.result)}
    constants = {"K": inner, "EPSILON": op.attribute("epsilon", float), "PADDED": power_of_two(inner)}
    e.launch(f"{KERNELS}:rms_norm", product(x.type.shape[:-1]), pointers, {}, constants, writes=("y",))


def emit_layer_norm(e: Emitter, op: Op) -> None:
    x = op.required("x")
    inner = fixed(x.type.shape[-1], "row length")
    optional = {"gain": op.operand("weight"), "bias": op.operand("bias")}
    given = {name: None if v is None else e.buffer(v) for name, v in optional.items()}
    constants = {"K": inner, "EPSILON": op.attribute("epsilon", float), "PADDED": power_of_two(inner)}
    e.launch(
        f"{KERNELS}:layer_norm", product(x.type.shape[:-1]), {"x": e.buffer(x), **given, "y": e.make(op.result)}, {},
        constants, writes=("y",),
    )  # fmt: skip


def emit_choose_tokens(e: Emitter, op: Op) -> None:
    logits = op.required("logits")
    batch, tokens, vocabulary = logits.type.shape
    constants = {"V": fixed(vocabulary, "vocabulary"), "BLOCK": e.settings["block"], "DRAWN": e.settings["drawn"]}
    names = ("logits", "past_length", "logit_positions", "sampling", "sampling_key")
    pointers = {**{name: e.buffer(op.required(name)) for name in names}, "y": e.make(op.result)}
    e.launch(f"{CHOOSING}:choose_tokens", batch * tokens, pointers, {"N": tokens}, constants, writes=("y",), warps=8)


def emit_next_length(e: Emitter, op: Op) -> None:
    names = ("past_length", "new_length", "tokens")
    pointers = {**{name: e.buffer(op.required(name)) for name in names}, "y": e.make(op.result)}
    e.launch(f"{CHOOSING}:next_length", op.result.type.shape[0], pointers, {}, {}, writes=("y",), warps=1)


def emit_softmax(e: Emitter, op: Op) -> None:
    x = op.inputs[0]
    inner = fixed(x.type.shape[-1], "row length")
    pointers = {"x": e.buffer(x), "y": e.make(op.result)}
    constants = {"K": inner, "PADDED": power_of_two(inner)}
    e.launch(f"{KERNELS}:softmax", product(x.type.shape[:-1]), pointers, {}, constants, writes=("y",))


def emit_fake_quantize(e: Emitter, op: Op) -> None:
    x = op.required("x")
    inner = fixed(x.type.shape[-1], "row length")
    group = op.attribute("group", int) or inner
    pointers = {"x": e.buffer(x), "y": e.make(op.result)}
    groups = {"GROUPS": power_of_two(-(-inner // group)), "PADDED": power_of_two(group)}
    constants = {"K": inner, "GROUP": group, **groups}
    warps = 8 if inner > 4096 else 4  # a thread has the numbers of a row in registers
    e.launch(
        f"{KERNELS}:round_groups", product(x.type.shape[:-1]), pointers, {}, constants, writes=("y",), warps=warps
    )  # fmt: skip


def emit_embedding(e: Emitter, op: Op) -> None:
    table, rows = op.required("weight"), op.required("indices")
    inner = fixed(table.type.shape[1], "row length")
    pointers = {"table": e.buffer(table), "rows": e.buffer(rows), "y": e.make(op.result)}
    constants = {"K": inner, "PADDED": power_of_two(inner)}
    sizes = {"COUNT": table.type.shape[0]}
    e.launch(f"{KERNELS}:table_rows", product(rows.type.shape), pointers, sizes, constants, writes=("y",))


def emit_take_tokens(e: Emitter, op: Op) -> None:
    x, places = op.required("x"), op.required("positions")
    inner = fixed(x.type.shape[-1], "row length")
    pointers = {"x": e.buffer(x), "places": e.buffer(places), "y": e.make(op.result)}
    sizes = {"N": places.type.shape[1], "S": x.type.shape[1]}
    constants = {"K": inner, "PADDED": power_of_two(inner)}
    e.launch(f"{KERNELS}:token_rows", product(places.type.shape), pointers, sizes, constants, writes=("y",))


def emit_cast(e: Emitter, op: Op) -> None:
    x = op.inputs[0]
    pointers = {"x": e.buffer(x), "y": e.make(op.result)}
    e.launch(
        f"{KERNELS}:copy_numbers", e.quotient(op.result.type.elements, 1024), pointers,
        {"COUNT": op.result.type.elements}, {"BLOCK": 1024}, writes=("y",),
    )  # fmt: skip


def emit_add(e: Emitter, op: Op) -> None:
    """Sums of integers in at most two axes, of which one operand may lack either: positions."""
    shape = op.result.type.shape
    columns = shape[-1] if shape else Dim.of(1)
    rows = product(shape[:-1])
    pointers = {"x": e.buffer(op.inputs[0]), "y": e.buffer(op.inputs[1]), "z": e.make(op.result)}
    constants: dict[str, Constant] = {"BLOCK": 128}
    for name, value in zip(("X", "Y"), op.inputs, strict=True):
        own = (Dim.of(1),) * (2 - value.type.rank) + value.type.shape
        constants |= {f"{name}_ROWS": own[0] is rows, f"{name}_COLUMNS": own[1] is columns}
    programs = rows * e.quotient(columns, 128)
    e.launch(f"{KERNELS}:add_rows", programs, pointers, {"COLUMNS": columns}, constants, writes=("z",), warps=1)


def emit_iota(e: Emitter, op: Op) -> None:
    size = op.result.type.shape[0]
    e.launch(
        f"{KERNELS}:count_up", e.quotient(size, 1024), {"y": e.make(op.result)}, {"COUNT": size}, {"BLOCK": 1024},
        writes=("y",),
    )  # fmt: skip
