"""Rotary embedding and the way into caches."""

from __future__ import annotations

from graphwright.backends.cuda.emit.attention import optional, shares_of
from graphwright.backends.cuda.emit.emitter import Constant, Emitter, fixed, power_of_two
from graphwright.ir.dims import product
from graphwright.ir.graph import Op

KERNELS = "graphwright.backends.cuda.kernels.rotary"


def emit_rotary_table(e: Emitter, op: Op) -> None:
    positions, frequencies = op.inputs
    pairs = fixed(frequencies.type.shape[0], "pairs")
    cos, sin = op.results
    pointers = {
        "positions": e.buffer(positions),
        "frequencies": e.buffer(frequencies),
        "cos": e.make(cos),
        "sin": e.make(sin),
    }
    constants = {"SCALE": op.attribute("scale", float), "PAIRS": pairs, "PADDED": power_of_two(pairs)}
    e.launch(
        f"{KERNELS}:rotary_table",
        product(positions.type.shape),
        pointers,
        {},
        constants,
        writes=("cos", "sin"),
        warps=1,
    )


def emit_rotary_embedding(e: Emitter, op: Op) -> None:
    x, cos, sin = op.inputs
    _, heads, tokens, size = x.type.shape
    pointers = {"x": e.buffer(x), "cos": e.buffer(cos), "sin": e.buffer(sin), "y": e.make(op.result)}
    constants = {
        "TABLE_ROWS": 1 if cos.type.shape[0].constant == 1 else 0,
        "HEADS": fixed(heads, "heads"),
        "SIZE": fixed(size, "head size"),
        "PAIRS": fixed(cos.type.shape[2], "pairs"),
        "INTERLEAVED": op.attribute("interleaved", bool),
        "PADDED": power_of_two(fixed(size, "head size")),
    }
    programs = product(x.type.shape[:-1])
    e.launch(f"{KERNELS}:rotary_embedding", programs, pointers, {"S": tokens}, constants, writes=("y",), warps=1)


def emit_rotary_append(e: Emitter, op: Op) -> None:
    packed, keys, values = (op.required(name) for name in ("packed", "key_cache", "value_cache"))
    batch, tokens, _ = packed.type.shape
    _, kv_heads, capacity, size = keys.type.shape
    bind_caches(e, op)
    heads, kv = op.attribute("heads", int), fixed(kv_heads, "heads")
    pointers = {
        "packed": e.buffer(packed),
        "key_cache": e.buffer(keys),
        "value_cache": e.buffer(values),
        "past_length": e.buffer(op.required("past_length")),
        **optional(e, op, "cos", "sin", "key_scale", "value_scale"),
        "queries": e.make(op.results[0]),
    }
    sizes = fixed(size, "head size"), fixed(values.type.shape[3], "head size of values")
    constants = {
        **columns_of(op),
        "HEADS": heads,
        "KV_HEADS": kv,
        "SIZE": sizes[0],
        "VALUE_SIZE": sizes[1],
        **shares_of(op),
        "PADDED": power_of_two(max(sizes)),
    }
    e.launch(
        f"{KERNELS}:rotary_append", batch * tokens * (heads + 2 * kv), pointers, {"S": tokens, "C": capacity},
        constants, writes=("queries",), updates=changed(op), warps=1,
    )  # fmt: skip


def bind_caches(e: Emitter, op: Op) -> None:
    """The states that an op gives lie where those lie that it changes in place."""
    for place, name in op.definition.in_place.items():
        if place < len(op.results):
            e.bind(op.results[place], e.buffer(op.required(name)))


def changed(op: Op) -> tuple[str, ...]:
    """The names of the states that an op changes in place: the caches, and scales of tokens."""
    return tuple(name for place, name in op.definition.in_place.items() if place < len(op.results))


def columns_of(op: Op) -> dict[str, Constant]:
    """Where in a packed row the heads of `cuda.rotary_append` begin, and how they are turned."""
    cos = op.operand("cos")
    return {
        # With one row in the batch the table of all rows and of each one are the same.
        "TABLE_ROWS": 1 if cos is None or cos.type.shape[0].constant == 1 else 0,
        "COLUMNS": fixed(op.required("packed").type.shape[-1], "columns"),
        "QUERY": op.attribute("query", int),
        "KEY": op.attribute("key", int),
        "VALUE": op.attribute("value", int),
        "PAIRS": 0 if cos is None else fixed(cos.type.shape[2], "pairs"),
        "INTERLEAVED": op.attribute("interleaved", bool),
    }
