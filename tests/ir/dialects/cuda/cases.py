"""Applications of a GPU's own ops, as `tests.ir.cases` has them for the IR's."""

from __future__ import annotations

from typing import Any

from graphwright.ir.dialects.cuda.append_attention import append_attention
from graphwright.ir.dialects.cuda.attention import combine_splits, fused_attention, split_attention
from graphwright.ir.dialects.cuda.choosing import choose_tokens, next_length
from graphwright.ir.dialects.cuda.linear import fused_linear
from graphwright.ir.dialects.cuda.rotary import rotary_append, rotary_embedding, rotary_table
from graphwright.ir.types import DType
from tests.ir.cases import Case
from tests.ir.dialects.cpu.cases import ATTENTION, CODES, COLUMNS, PACKED, PLAIN, TABLE, TOKENS

Q = "f32[B, 4, S, 8]"
CACHES = ("state<contiguous f32[B, 2, 20, 8]>", "state<contiguous f32[B, 2, 20, 6]>")
PIECES: dict[str, Any] = {**ATTENTION, "splits": 3}
PARTIAL = "f32[B, 4, 3, S, 8]"

CUDA_CASES = [
    Case(fused_linear, ("f32[B, S, 16]", "f32[6, 16]")),
    Case(fused_linear, ("f32[B, 16]", "f32[6, 16]", "f32[6]", "f32[16]", "f32[B, 6]"), {"epsilon": 1e-5}),
    Case(
        fused_linear,
        ("f32[B, 64]", "q4<g32, sym>[6, 64]", "f32[6]", "f32[64]", "f32[B, 3]"),
        {"gated": True, "kind": "gelu"},
    ),
    Case(rotary_table, ("i64[B, S]", "f32[3]"), {"scale": 0.5}),
    Case(rotary_embedding, (Q, TABLE, TABLE), {"interleaved": False}),
    Case(rotary_append, (PACKED, *PLAIN, "i64[B]", None, TABLE, TABLE), COLUMNS),
    Case(fused_attention, (Q, *CACHES, "i64[B, S]", "i64[B]"), ATTENTION),
    Case(split_attention, (Q, *CACHES, "i64[B, S]", "i64[B]"), PIECES),
    Case(append_attention, (PACKED, *CACHES, "i64[B]", "i64[B, S]", "i64[B]", TABLE, TABLE), PIECES | COLUMNS),
    Case(append_attention, (PACKED, *CACHES, "i64[B]", "i64[1, S]", "i64[B]"), PIECES | COLUMNS),
    Case(split_attention, (Q, *CODES, "i64[B, S]", "i64[B]", None, None, "f32[1, 2, 1, 8]", TOKENS), PIECES),
    Case(split_attention, (Q, *CACHES, "i64[B, S]", "i64[B]", "f32[4, 1, 20]"), PIECES),
    Case(split_attention, (Q, "f32[B, 2, P, 8]", "f32[B, 2, P, 6]", "i64[B, S]", None, None, "i64[B, P]"), PIECES),
    Case(
        append_attention,
        (PACKED, *CODES, "i64[B]", "i64[B, S]", "i64[B]", None, None, "f32[]", "f32[1, 2, 1, 6]"),
        PIECES | COLUMNS,
    ),
    Case(
        append_attention,
        (PACKED, *CODES, "i64[B]", "i64[B, S]", "i64[B]", TABLE, TABLE, "f32[1, 2, 1, 8]", TOKENS),
        PIECES | COLUMNS,
    ),
    Case(choose_tokens, ("f32[B, S, 12]", "i64[B]", "i64[B, S]", "f32[B, 4]", "i64[B, 2]")),
    Case(next_length, ("i64[B]", "i64[B]", "i64[B, S]")),
    Case(combine_splits, (PARTIAL,), {"dtype": DType.F16}),
    Case(combine_splits, (PARTIAL, "f32[4]"), {"dtype": DType.F32}),
]
