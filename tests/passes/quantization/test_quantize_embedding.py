"""Embedding tables in few bits: every graph looks up in the same codes, which a head may share."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import Interpreter, PassError, print_program
from graphwright.ir.storage import total_bytes, weights_of
from graphwright.passes import parse_passes, run_passes
from tests.ir.quantized_types import dequantized
from tests.passes.calibration.models import tokens, wide_blocks


def test_rows_are_those_of_the_rounded_table() -> None:
    before, after = wide_blocks(1, 8, 24), wide_blocks(1, 8, 24)
    (record,) = run_passes(after, parse_passes("quantize-embedding{to=u4, group=4}")).records
    assert record.lossy
    assert record.hits == {"quantize-embedding": 1}
    text = print_program(after)
    assert "quantized_embedding(@table.quantized, %input_ids) : f32[B, S, 8]  at table" in text
    assert "= embedding(" not in text
    table = dequantized(after.weights["table.quantized"].evaluate(), torch.float32)
    graph = after.graphs["forward"]
    ids = tokens(2, 5)
    looked_up = next(op for op in graph if op.name == "quantized_embedding").result
    (found,) = Interpreter().run_cone({graph.input("input_ids"): ids}, [looked_up], {"B": 2, "S": 5})
    assert torch.equal(found, table[ids])
    exact = before.weights["table"].evaluate()
    assert 0 < (table - exact).abs().max() < 0.5


def test_a_head_of_the_same_format_shares_the_codes() -> None:
    same = wide_blocks(1, 8, 24)
    run_passes(same, parse_passes("quantize-weights{to=i8, group=0}, quantize-embedding{to=i8, group=0}"))
    assert "table" not in same.weights
    other = wide_blocks(1, 8, 24)
    run_passes(other, parse_passes("quantize-weights{to=i8, group=0}, quantize-embedding{to=i4, group=0}"))
    assert {"table.quantized", "table.quantized.1"} <= other.weights.keys()
    bytes_of_both = [total_bytes(weights_of(p.graphs.values())) for p in (same, other)]
    # The second copy: 11 rows of 8 codes of 4 bits, and 11 scales.
    assert bytes_of_both[1] - bytes_of_both[0] == 11 * 4 + 11 * 4


def test_what_is_not_finite_or_no_format_is_refused() -> None:
    with pytest.raises(PassError, match=r"quantize-embedding: groups of -2, expected 0 \(one scale a row\) or more"):
        run_passes(wide_blocks(1, 8, 24), parse_passes("quantize-embedding{group=-2}"))
    program = wide_blocks(1, 8, 24)
    program.weights["table"].evaluate()[1, 2] = float("nan")
    with pytest.raises(PassError, match=r"weight 'table' of table cannot be quantized: element \[1, 2\] is nan"):
        run_passes(program, parse_passes("quantize-embedding"))
