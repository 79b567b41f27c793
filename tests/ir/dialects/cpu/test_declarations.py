"""Of the CPU's own ops: types, prices against an interpreter that counts, and what the table of kernels takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graphwright.ir import DType, IRTypeError, Program, ops
from graphwright.ir.declare import REGISTRY
from graphwright.ir.dialects.cpu.attention import fused_attention
from graphwright.ir.dialects.cpu.capabilities import CPU
from graphwright.ir.dialects.cpu.columns import gated_columns
from graphwright.ir.dialects.cpu.norms import add_rms_norm
from graphwright.ir.dialects.cpu.packed_weights import OF_WEIGHTS
from graphwright.ir.dialects.cpu.quantized import rounded_linear
from graphwright.ir.dialects.cpu.rotary import rotary_append
from graphwright.ir.graph import Graph
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.text import parse_type
from graphwright.ir.weights import Applied, StoredArray
from tests.ir.cases import Case
from tests.ir.dialects.cpu.cases import ATTENTION, CODES, COLUMNS, CPU_CASES, PACKED, PLAIN, TABLE, K, Q, V, X
from tests.ir.pricing.test_counted import predicted_and_counted

BINDINGS = {"B": 2, "S": 3, "P": 5}


def test_every_op_is_documented_and_has_a_case_and_a_row() -> None:
    declared = [definition for name, definition in REGISTRY.items() if name.startswith("cpu.")]
    assert {case.op for case in CPU_CASES} == set(declared) - OF_WEIGHTS == {row.op for row in CPU.rows}
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


def product(weight_group: int, group: int) -> str | None:
    """What the table says of a product with a stored weight of four bits."""
    program = Program("test")
    graph = program.add_graph(Graph())
    x = graph.add_input("x", parse_type("f32[B, 64]"))
    numbers = StoredArray.of(torch.ones(6, 64))
    codes = Applied.of(ops.round_to_nearest, (numbers,), {"to": DType.I4, "group": weight_group})
    weight = graph.weight(program.add_weight("w", codes))
    return CPU.refusal(graph.insert(rounded_linear, [x, weight], {"group": group}))


def test_the_table_says_which_groups_are_multiplied() -> None:
    assert [product(32, group) for group in (0, 16, 32, 64)] == [None] * 4
    assert product(32, 24) == "cpu: no kernel multiplies groups of 32 by groups of 24"
    assert product(32, 4) == "cpu: no kernel multiplies groups of 32 by groups of 4"
    assert product(4, 0) == "cpu: groups of 4 are not made of steps of 8 codes"


def test_kernels_of_float32_refuse_others() -> None:
    wide = Case(add_rms_norm, ("f64[B, 16]", "f64[B, 16]", "f64[16]"), {"epsilon": 1e-5}).build()
    assert CPU.refusal(wide) == "cpu takes no f64 in cpu.add_rms_norm"
    computed = Case(rounded_linear, ("f32[B, 64]", "q4<g32, sym>[6, 64]")).build()
    assert CPU.refusal(computed) == "cpu: its weight is computed in the graph"
    assert DType.F64 not in CPU.rows[0].dtypes
