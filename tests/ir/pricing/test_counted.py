"""Of every op: what its cost says is moved, against what an interpreter counts that it does move."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from benchmarks.counting import CountingInterpreter
from graphwright.ir import Op, ops
from tests.ir.cases import CASES, Case

BINDINGS = {"B": 2, "S": 3, "P": 5}


def predicted_and_counted(op: Op, case: Case, given: Mapping[str, torch.Tensor] | None = None) -> tuple[int, int]:
    """Bits read and written, on random operands but for those given."""
    operands = case.sample(BINDINGS, torch.Generator().manual_seed(0))
    for name, value in (given or {}).items():
        operands[op.definition.operand_index(name)] = value
    interpreter = CountingInterpreter()
    interpreter.run_op(op, operands, BINDINGS)
    cost = op.definition.price(op)
    predicted = sum(size.evaluate(BINDINGS) for size in (*cost.reads, *cost.writes))
    return predicted, sum(interpreter.bits.values())


def depends_on_data(op: Op) -> bool:
    """Tokens may choose the same experts, and a row may have padding that its ring does not take."""
    return op.definition is ops.moe_experts or (op.definition is ops.kv_append and op.operand("new_length") is not None)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_predicted_traffic_is_the_count(case: Case) -> None:
    op = case.build()
    predicted, counted = predicted_and_counted(op, case)
    assert 0 < counted <= predicted if depends_on_data(op) else counted == predicted
