"""Of the ops that stand for kernels: types, and prices against an interpreter that counts."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir.declare import REGISTRY
from graphwright.ir.dialects.cpu.packed_weights import OF_WEIGHTS
from graphwright.ir.interpreter import apply_reference
from tests.ir.cases import Case
from tests.ir.dialects.cpu.cases import CPU_CASES
from tests.ir.dialects.cuda.cases import CUDA_CASES
from tests.ir.pricing.test_counted import predicted_and_counted

BINDINGS = {"B": 2, "S": 3, "P": 5}
CASES = CPU_CASES + CUDA_CASES


def test_every_op_is_documented_and_has_a_case() -> None:
    declared = [definition for name, definition in REGISTRY.items() if name.startswith(("cpu.", "cuda."))]
    assert {case.op for case in CASES} == set(declared) - OF_WEIGHTS
    assert all(definition.doc and definition.has_reference for definition in declared)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_inferred_types_are_those_of_the_reference_results(case: Case) -> None:
    op = case.build()
    operands = case.sample(BINDINGS, torch.Generator().manual_seed(0))
    for precision in ("reference", "float64"):
        types = [v.type for v in op.results]
        results = apply_reference(op.definition, operands, op.attributes, types, BINDINGS, precision)
        assert [list(r.shape) for r in results] == [[d.evaluate(BINDINGS) for d in t.shape] for t in types]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_predicted_traffic_is_the_count(case: Case) -> None:
    predicted, counted = predicted_and_counted(case.build(), case)
    # A row may have padding that its ring does not take.
    assert 0 < counted <= predicted if "new_length" in case.below else counted == predicted
