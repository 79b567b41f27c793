"""Attention: whole, and over pieces of the context."""

from __future__ import annotations

from graphwright.backends.cuda.emit.emitter import Constant, Emitter, fixed, power_of_two
from graphwright.backends.plan import Buffer
from graphwright.ir.dialects.cuda.attention import LOG2_E
from graphwright.ir.graph import Op, Value

KERNELS = "graphwright.backends.cuda.kernels.attention"


def _constants(e: Emitter, op: Op) -> dict[str, Constant]:
    q, k, v = (op.required(name) for name in ("q", "k", "v"))
    return constants_of(e, op, fixed(q.type.shape[1], "heads"), k, v)


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
        "SCALE": op.attribute("scale", float) * LOG2_E,
        "MASK": op.attribute("mask", str),
        "WINDOW": op.attribute("window", int),
        "SOFTCAP": op.attribute("softcap", float) * LOG2_E,
        "BC": e.settings["keys"],
        "PADDED": power_of_two(size),
        "VALUE_PADDED": power_of_two(value_size),
        "EMULATED": e.gpu.emulated,
    }


def _read(e: Emitter, op: Op) -> dict[str, Buffer]:
    """What attention over caches reads, by the names that its kernels have for it."""
    names = {"q": "q", "key_cache": "k", "value_cache": "v", "positions": "positions", "key_length": "key_length"}
    return {name: e.buffer(op.required(operand)) for name, operand in names.items()}


def emit_split_attention(e: Emitter, op: Op) -> None:
    q, k = op.required("q"), op.required("k")
    batch, heads, tokens, _ = q.type.shape
    kv_heads, splits = k.type.shape[1], op.attribute("splits", int)
    pointers = {**_read(e, op), "partial": e.make(op.result)}
    rows = power_of_two(fixed(tokens, "tokens") * (fixed(heads, "heads") // fixed(kv_heads, "heads of keys")))
    constants = {**_constants(e, op), "SPLITS": splits, "ROWS": rows}
    e.launch(
        f"{KERNELS}:split_attention", batch * kv_heads * splits, pointers, {"S": tokens, "C": k.type.shape[2]},
        constants, writes=("partial",), warps=e.settings["warps"],
    )  # fmt: skip


def emit_combine_splits(e: Emitter, op: Op) -> None:
    partial, sinks = op.required("partial"), op.operand("sinks")
    batch, heads, splits, tokens, width = partial.type.shape
    size = fixed(width, "width") - 2
    pieces = fixed(splits, "splits")
    pointers = {
        "partial": e.buffer(partial),
        "sinks": None if sinks is None else e.buffer(sinks),
        "y": e.make(op.result),
    }
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
    pointers = {**_read(e, op), "y": e.make(op.result)}
    constants = {**_constants(e, op), "BS": e.settings["queries"]}
    e.launch(
        f"{KERNELS}:attention", batch * heads * e.quotient(tokens, e.settings["queries"]), pointers,
        {"S": tokens, "C": k.type.shape[2]}, constants, writes=("y",), warps=e.settings["warps"],
    )  # fmt: skip
