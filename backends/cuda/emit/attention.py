"""Attention: whole, and over pieces of the context."""

from __future__ import annotations

from graphwright.backends.cuda.emit.emitter import Constant, Emitter, fixed, power_of_two
from graphwright.backends.plan import Buffer
from graphwright.ir.dialects.cuda.attention import LOG2_E
from graphwright.ir.graph import Op, Value
from graphwright.ir.ops.rules import ONE, Shape

KERNELS = "graphwright.backends.cuda.kernels.attention"


def constants_of(e: Emitter, op: Op, heads: int, keys: Value, values: Value) -> dict[str, Constant]:
    """What kernels of attention know of an op, of keys and values [batch, kv heads, tokens, size]."""
    size, value_size = fixed(keys.type.shape[3], "head size"), fixed(values.type.shape[3], "head size of values")
    positions = op.required("positions").type
    return {
        "POSITION_ROWS": 1 if positions.shape[0].constant == 1 else 0,
        "HEADS": heads,
        "KV_HEADS": fixed(keys.type.shape[1], "heads of keys"),
        "SIZE": size,
        "VALUE_SIZE": value_size,
        **shares_of(op),
        "SCALE": op.attribute("scale", float) * LOG2_E,
        "MASK": op.attribute("mask", str),
        "WINDOW": op.attribute("window", int),
        "SOFTCAP": op.attribute("softcap", float) * LOG2_E,
        "BC": e.settings["keys"],
        "PADDED": power_of_two(size),
        "VALUE_PADDED": power_of_two(value_size),
        "EMULATED": e.gpu.emulated,
    }


def shares_of(op: Op) -> dict[str, Constant]:
    """What each scale of caches of codes is for, as kernels call it; None for caches of numbers."""
    scales = {"KEY_SHARE": op.operand("key_scale"), "VALUE_SHARE": op.operand("value_scale")}
    return {name: None if scale is None else _share(scale.type.shape) for name, scale in scales.items()}


def _share(shape: Shape) -> str:
    if not shape:
        return "tensor"
    # Of a cache of one token both are the same number.
    return "token" if shape[3] is ONE and shape[2] is not ONE else "channel"


def optional(e: Emitter, op: Op, *names: str) -> dict[str, Buffer | None]:
    """The memory of operands that may be absent, by their names."""
    return {name: None if (value := op.operand(name)) is None else e.buffer(value) for name in names}


def _constants(op: Op) -> dict[str, Constant]:
    """Which axes a bias has that broadcasts to [batch, heads, sequence, keys], and how many rows positions of keys."""
    bias, places = op.operand("bias"), op.operand("key_positions")
    shape = () if bias is None else bias.type.shape
    axes = ("BIAS_BATCH", "BIAS_HEADS", "BIAS_QUERIES", "BIAS_KEYS")
    whole = (ONE,) * (4 - len(shape)) + shape
    return {
        **{axis: int(size is not ONE) for axis, size in zip(axes, whole, strict=True)},
        "KEY_POSITION_ROWS": 1 if places is None or places.type.shape[0].constant == 1 else 0,
    }


def _read(e: Emitter, op: Op, *more: str) -> dict[str, Buffer | None]:
    """What attention over caches reads, by the names that its kernels have for it, in their order."""
    names = {"q": "q", "key_cache": "k", "value_cache": "v", "positions": "positions"}
    given = {name: e.buffer(op.required(operand)) for name, operand in names.items()}
    return {**given, **optional(e, op, "key_length", "bias", *more, "key_positions", "key_scale", "value_scale")}


def emit_split_attention(e: Emitter, op: Op) -> None:
    q, k = op.required("q"), op.required("k")
    batch, heads, tokens, _ = q.type.shape
    kv_heads, splits = k.type.shape[1], op.attribute("splits", int)
    pointers = {**_read(e, op), "partial": e.make(op.result)}
    rows = power_of_two(fixed(tokens, "tokens") * (fixed(heads, "heads") // fixed(kv_heads, "heads of keys")))
    own = constants_of(e, op, fixed(heads, "heads"), k, op.required("v"))
    constants = {**own, **_constants(op), "SPLITS": splits, "ROWS": rows}
    e.launch(
        f"{KERNELS}:split_attention", batch * kv_heads * splits, pointers, {"S": tokens, "C": k.type.shape[2]},
        constants, writes=("partial",), warps=e.settings["warps"],
    )  # fmt: skip


def emit_combine_splits(e: Emitter, op: Op) -> None:
    partial = op.required("partial")
    batch, heads, splits, tokens, width = partial.type.shape
    size = fixed(width, "width") - 2
    pieces = fixed(splits, "splits")
    pointers = {"partial": e.buffer(partial), **optional(e, op, "sinks"), "y": e.make(op.result)}
    constants = {
        "HEADS": fixed(heads, "heads"),
        "VALUE_SIZE": size,
        "SPLITS": pieces,
        "PADDED_SPLITS": power_of_two(pieces),
        "VALUE_PADDED": power_of_two(size),
    }
    e.launch(
        f"{KERNELS}:combine_splits", batch * tokens * heads, pointers, {"S": tokens}, constants, writes=("y",), warps=2
    )


def emit_attention(e: Emitter, op: Op) -> None:
    q, k = op.required("q"), op.required("k")
    batch, heads, tokens, _ = q.type.shape
    pointers = {**_read(e, op, "sinks"), "y": e.make(op.result)}
    own = constants_of(e, op, fixed(heads, "heads"), k, op.required("v"))
    constants = {**own, **_constants(op), "RING": op.attribute("ring", int), "BS": e.settings["queries"]}
    e.launch(
        f"{KERNELS}:attention", batch * heads * e.quotient(tokens, e.settings["queries"]), pointers,
        {"S": tokens, "C": k.type.shape[2]}, constants, writes=("y",), warps=e.settings["warps"],
    )  # fmt: skip
