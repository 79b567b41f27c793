"""What is appended to the caches and attention over pieces of the context, in one launch."""

from __future__ import annotations

from graphwright.backends.cuda.emit.attention import KERNELS, constants_of, optional
from graphwright.backends.cuda.emit.emitter import Emitter, fixed, power_of_two
from graphwright.backends.cuda.emit.rotary import bind_caches, changed, columns_of
from graphwright.ir.graph import Op

NEW = 16
"""New tokens at a time: the least that a product of tiles takes."""


def emit_append_attention(e: Emitter, op: Op) -> None:
    packed, keys, values = (op.required(name) for name in ("packed", "key_cache", "value_cache"))
    batch, tokens, _ = packed.type.shape
    kv_heads = fixed(keys.type.shape[1], "heads of keys")
    bind_caches(e, op)
    pointers = {
        "packed": e.buffer(packed),
        "key_cache": e.buffer(keys),
        "value_cache": e.buffer(values),
        **{name: e.buffer(op.required(name)) for name in ("past_length", "positions", "key_length")},
        **optional(e, op, "cos", "sin", "key_scale", "value_scale"),
        "partial": e.make(op.results[0]),
    }
    splits, heads = op.attribute("splits", int), op.attribute("heads", int)
    constants = {
        **columns_of(op),
        **constants_of(e, op, heads, keys, values),
        "SPLITS": splits,
        "ROWS": power_of_two(fixed(tokens, "tokens") * (heads // kv_heads)),
        "NEW": NEW,
    }
    e.launch(
        f"{KERNELS.rpartition('.')[0]}.append_attention:append_attention", batch * kv_heads * splits, pointers,
        {"S": tokens, "C": keys.type.shape[2]}, constants, writes=("partial",), updates=changed(op),
        warps=e.settings["warps"],
    )  # fmt: skip
