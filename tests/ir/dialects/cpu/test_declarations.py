"""Operands that the CPU's own ops refuse."""

from __future__ import annotations

from typing import Any

import pytest

from graphwright.ir import IRTypeError
from graphwright.ir.dialects.cpu.attention import fused_attention
from graphwright.ir.dialects.cpu.bf16 import bf16_linear
from graphwright.ir.dialects.cpu.columns import gated_columns
from graphwright.ir.dialects.cpu.norms import add_rms_norm
from graphwright.ir.dialects.cpu.quantized import rounded_linear
from graphwright.ir.dialects.cpu.rotary import rotary_append
from tests.ir.cases import Case
from tests.ir.dialects.cpu.cases import ATTENTION, CODES, COLUMNS, PACKED, PLAIN, TABLE, K, Q, V, X


@pytest.mark.parametrize(
    ("definition", "operands", "attributes", "message"),
    [
        (add_rms_norm, (X, "f32[B, 1, 16]", "f32[16]"), {"epsilon": 1e-5}, "skip f32[B, 1, 16]"),
        (gated_columns, (X,), {"kind": "silu", "size": 9, "gate": 0, "up": 9}, "up has columns 9 to 18"),
        (rotary_append, (PACKED, *PLAIN, "i64[B]"), COLUMNS | {"value": 49}, "value has columns 49 to 61"),
        (rotary_append, (PACKED, *PLAIN, "i64[B]", None, TABLE), COLUMNS, "cos comes with sin"),
        (rotary_append, (PACKED, *PLAIN, "i64[B]", None, None, None, "f32[]", "f32[]"), COLUMNS, "the key cache is"),
        (rotary_append, (PACKED, *CODES, "i64[B]"), COLUMNS, "element types differ"),
        (rotary_append, (PACKED, *PLAIN, "i64[B]", "i64[B]"), COLUMNS, "a contiguous cache with new_length"),
        (rotary_append, (PACKED, PLAIN[0], CODES[1], "i64[B]"), COLUMNS, "element types differ"),
        (fused_attention, (Q, K, V, "i64[B, S]"), ATTENTION, "element types differ"),
        (fused_attention, (Q, K, V, "i64[B, S]", *(None,) * 4, "f32[2]", "f32[]"), ATTENTION, "scales are f32[2]"),
        (fused_attention, (Q, Q, Q, "i64[B, S]", *(None,) * 4, "f32[]", "f32[]"), ATTENTION, "four axes of i8"),
        (rounded_linear, ("f32[B, 64]", "q4<g32, sym>[6, 32]"), {}, "differ"),
        (bf16_linear, ("f16[B, 64]", "f16[6, 64]"), {}, "summed in f32, and x is f16[B, 64]"),
    ],
)
def test_what_does_not_fit_is_refused(
    definition: Any, operands: tuple[str | None, ...], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(IRTypeError, match=message.replace("[", r"\[").replace("]", r"\]")):
        Case(definition, operands, attributes).build()
