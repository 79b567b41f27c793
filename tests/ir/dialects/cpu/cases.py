"""Applications of the CPU's own ops, as `tests.ir.cases` has them for the IR's."""

from __future__ import annotations

from typing import Any

from graphwright.ir.dialects.cpu.attention import fused_attention
from graphwright.ir.dialects.cpu.bf16 import bf16_linear
from graphwright.ir.dialects.cpu.columns import gated_columns
from graphwright.ir.dialects.cpu.memory import copy
from graphwright.ir.dialects.cpu.norms import add_layer_norm, add_rms_norm
from graphwright.ir.dialects.cpu.packed_caches import dequantize_packed, quantize_packed
from graphwright.ir.dialects.cpu.quantized import rounded_linear
from graphwright.ir.dialects.cpu.rotary import rotary_append, rotary_embedding, rotary_table
from tests.ir.cases import Case

X = "f32[B, S, 16]"
PACKED = "f32[B, S, 60]"
PLAIN = ("state<contiguous f32[B, 2, 20, 8]>", "state<contiguous f32[B, 2, 20, 6]>")
CODES = ("state<contiguous i8[B, 2, 20, 8]>", "state<contiguous i8[B, 2, 20, 6]>")
NIBBLES = ("state<contiguous u8[B, 2, 20, 4]>", "state<contiguous u8[B, 2, 20, 3]>")
RING = ("state<ring f32[B, 2, 2, 8]>", "state<ring f32[B, 2, 2, 6]>")
TABLE = "f32[B, S, 3]"
TOKENS = "state<contiguous f32[B, 2, 20, 1]>"
COLUMNS: dict[str, Any] = {"heads": 4, "query": 0, "key": 32, "value": 48}
ATTENTION: dict[str, Any] = {"scale": 0.3, "mask": "causal"}
Q, K, V = "f32[B, 4, S, 8]", "i8[B, 2, P, 8]", "i8[B, 2, P, 6]"

CPU_CASES = [
    Case(add_rms_norm, (X, X, "f32[16]"), {"epsilon": 1e-5}),
    Case(add_layer_norm, (X, X), {"epsilon": 1e-5}),
    Case(add_layer_norm, (X, X, "f32[16]", "f32[16]"), {"epsilon": 1e-5}),
    Case(gated_columns, (X,), {"kind": "silu", "size": 5, "gate": 8, "up": 2}),
    Case(rotary_table, ("i64[B, S]", "f32[3]"), {"scale": 0.5}),
    Case(rotary_embedding, ("f32[B, 4, S, 8]", TABLE, TABLE), {"interleaved": False}),
    Case(rotary_embedding, ("f32[B, 4, S, 6]", "f32[1, S, 3]", "f32[1, S, 3]"), {"interleaved": True}),
    Case(rotary_append, (PACKED, *PLAIN, "i64[B]"), COLUMNS),
    Case(rotary_append, (PACKED, *PLAIN, "i64[B]", None, TABLE, TABLE), COLUMNS),
    Case(rotary_append, (PACKED, *RING, "i64[B]", "i64[B]", TABLE, TABLE), COLUMNS, {"new_length": "S+1"}),
    Case(
        rotary_append,
        (PACKED, *CODES, "i64[B]", None, TABLE, TABLE, "f32[1, 2, 1, 8]", "f32[]"),
        COLUMNS | {"interleaved": True},
    ),
    Case(rotary_append, (PACKED, *CODES, "i64[B]", None, TABLE, TABLE, "f32[]", TOKENS), COLUMNS),
    Case(rotary_append, (PACKED, *NIBBLES, "i64[B]", None, TABLE, TABLE, "f32[1, 2, 1, 8]", TOKENS), COLUMNS),
    *(Case(quantize_packed, ("f32[B, 2, S, 8]", scale)) for scale in ("f32[]", "f32[1, 2, 1, 8]", "f32[B, 2, S, 1]")),
    *(Case(dequantize_packed, ("u8[B, 2, S, 4]", scale)) for scale in ("f32[]", "f32[1, 2, 1, 8]", "f32[B, 2, S, 1]")),
    Case(fused_attention, (Q, "f32[B, 2, P, 8]", "f32[B, 2, P, 6]", "i64[B, S]"), ATTENTION),
    Case(fused_attention, (Q, *PLAIN, "i64[1, S]", "i64[B]"), ATTENTION | {"merged": False}),
    *(
        Case(fused_attention, (Q, K, V, "i64[B, S]", *(None,) * 4, *scales), ATTENTION)
        for scales in (("f32[]", "f32[1, 2, 1, 6]"), ("f32[1, 2, 1, 8]", "f32[B, 2, P, 1]"))
    ),
    Case(fused_attention, (Q, *CODES, "i64[B, S]", *(None,) * 4, "f32[]", TOKENS), ATTENTION),
    Case(fused_attention, (Q, *NIBBLES, "i64[B, S]", *(None,) * 4, "f32[1, 2, 1, 8]", TOKENS), ATTENTION),
    Case(rounded_linear, ("f32[B, S, 64]", "q4<g32, sym>[6, 64]"), {"group": 16}),
    Case(rounded_linear, ("f32[B, S, 64]", "q4<g32, min, scale=f16>[6, 64]"), {"group": 32}),
    Case(rounded_linear, ("f32[B, 64]", "q8<g64, sym>[6, 64]", "f32[6]")),
    Case(bf16_linear, ("f32[B, S, 16]", "f32[6, 16]", "f32[6]")),
    Case(copy, ("bool[B, 3]",)),
    Case(copy, ("state<ring f32[B, 2, 3, 8]>",)),
]
