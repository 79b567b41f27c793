"""Of the CPU's own ops: types, and prices against an interpreter that counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graphwright.ir import IRTypeError
from graphwright.ir.declare import REGISTRY
from graphwright.ir.dialects.cpu.attention import fused_attention
from graphwright.ir.dialects.cpu.columns import gated_columns
from graphwright.ir.dialects.cpu.norms import add_rms_norm
from graphwright.ir.dialects.cpu.packed_weights import OF_WEIGHTS
from graphwright.ir.dialects.cpu.quantized import rounded_linear
from graphwright.ir.dialects.cpu.rotary import rotary_append
from graphwright.ir.interpreter import apply_reference
from tests.ir.cases import Case
from tests.ir.dialects.cpu.cases import ATTENTION, CODES, COLUMNS, CPU_CASES, PACKED, PLAIN, TABLE, K, Q, V, X
from tests.ir.pricing.test_counted import predicted_and_counted

BINDINGS = {"B": 2, "S": 3, "P": 5}


def test_every_op_is_documented_and_has_a_case() -> None:
    declared = [definition for name, definition in REGISTRY.items() if name.startswith("cpu.")]
    assert {case.op for case in CPU_CASES} == set(declared) - OF_WEIGHTS
    assert all(definition.doc and definition.has_reference for definition in declared)


@pytest.mark.parametrize("case", CPU_CASES, ids=str)
def test_inferred_types_are_those_of_the_reference_results(case: Case) -> None:
    op = case.build()
    operands = case.sample(BINDINGS, torch.Generator().manual_seed(0))
    for precision in ("reference", "float64"):
        types = [v.type for v in op.results]
        results = apply_reference(op.definition, operands, op.attributes, types, BINDINGS, precision)
        assert [list(r.shape) for r in results] == [[d.evaluate(BINDINGS) for d in t.shape] for t in types]


@pytest.mark.parametrize("case", CPU_CASES, ids=str)
def test_predicted_traffic_is_the_count(case: Case) -> None:
    predicted, counted = predicted_and_counted(case.build(), case)
    # A row may have padding that its ring does not take.
    assert 0 < counted <= predicted if "new_length" in case.below else counted == predicted


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
    ],
)
def test_what_does_not_fit_is_refused(
    definition: Any, operands: tuple[str | None, ...], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(IRTypeError, match=message.replace("[", r"\[").replace("]", r"\]")):
        Case(definition, operands, attributes).build()
