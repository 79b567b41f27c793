"""The packed form of float weights."""

from __future__ import annotations

import pytest
import torch

from graphwright.backends.tvm.library.layouts import PANELS, packed_floats, packed_pairs, unpacked_pairs
from graphwright.ir import ops
from graphwright.ir.dialects.cpu.bf16 import narrow_form
from graphwright.ir.types import DType, tensor
from graphwright.ir.weights import Applied, StoredArray


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_stand_in_panels_of_sixteen(dtype: torch.dtype) -> None:
    weight = torch.arange(1, 27 * 5 + 1).reshape(27, 5).to(dtype)
    panels = packed_floats(StoredArray.of(weight)).evaluate()
    assert panels.shape == (2, 5, 16)
    for row in range(27):
        assert torch.equal(panels[row // 16, :, row % 16], weight[row])
    assert not panels[1, :, 11:].any()


def test_a_whole_number_of_panels_is_not_filled_up() -> None:
    expression = packed_floats(StoredArray.of(torch.ones(32, 3)))
    assert expression.type == tensor(DType.F32, 2, 3, 16)
    assert bool(expression.evaluate().all())


def test_a_stack_lies_as_the_matrix_of_all_its_rows() -> None:
    weight = StoredArray.of(torch.arange(3.0 * 32 * 5).reshape(3, 32, 5))
    panels = PANELS.pack(weight)
    matrix = StoredArray.of(weight.evaluate().flatten(0, 1))
    assert torch.equal(panels["packed"].evaluate(), packed_floats(matrix).evaluate())
    assert torch.equal(PANELS.unpack(weight.type, panels).evaluate(), weight.evaluate())


@pytest.mark.parametrize(("rows", "columns"), [(27, 5), (16, 6)])
def test_neighbours_stand_together_in_pairs(rows: int, columns: int) -> None:
    weight = torch.randn(rows, columns)
    pairs = packed_pairs(StoredArray.of(weight))
    assert pairs.type == tensor(DType.BF16, -(-rows // 16), -(-columns // 2), 16, 2)
    found, narrow = pairs.evaluate(), weight.bfloat16()
    for row in range(rows):
        numbers = found[row // 16, :, row % 16].reshape(-1)
        assert torch.equal(numbers[:columns], narrow[row])
        assert not numbers[columns:].any()
    assert torch.equal(unpacked_pairs(pairs, tensor(DType.F32, rows, columns)).evaluate(), narrow.float())


def test_numbers_that_were_widened_are_not_rounded_again() -> None:
    stored = StoredArray.of(torch.randn(16, 2).bfloat16())
    widened = Applied.of(ops.cast, (stored,), {"dtype": DType.F32})
    assert narrow_form(widened) is stored
    assert torch.equal(packed_pairs(widened).evaluate(), packed_pairs(stored).evaluate())
    assert narrow_form(stored) is None
