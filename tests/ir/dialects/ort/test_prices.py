"""Of the backend's own ops: what their costs say is moved, against what an interpreter counts."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir.dialects.ort.experts import chosen_experts
from graphwright.ir.dialects.ort.group_query import group_query_attention
from tests.ir.cases import Case
from tests.ir.dialects.ort.cases import DIALECT_CASES
from tests.ir.pricing.test_counted import predicted_and_counted

LENGTHS = {
    name: torch.tensor(value, dtype=torch.int32)
    for name, value in (("last_position", [5, 5]), ("total_length", 6), ("query_length", [3, 3]))
}
"""Two rows of three past tokens and three new ones."""


@pytest.mark.parametrize("case", DIALECT_CASES, ids=str)
def test_predicted_traffic_is_the_count(case: Case) -> None:
    op = case.build()
    lengths = LENGTHS if op.definition is group_query_attention else {}
    predicted, counted = predicted_and_counted(op, case, lengths)
    # Rows may choose the same expert.
    assert 0 < counted <= predicted if op.definition is chosen_experts else counted == predicted
