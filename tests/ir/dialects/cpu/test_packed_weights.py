"""The packed layout, code by code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from graphwright.ir import Dim, ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.cpu.packed_weights import (
    packable,
    packed_layout,
    packed_parts,
    stored_type,
    unpacked,
    unpacked_codes,
    unpacked_scales,
    unpacked_zero_points,
)
from graphwright.ir.errors import IRTypeError
from graphwright.ir.text import parse_type
from graphwright.ir.types import DType, QuantizedType, tensor
from graphwright.ir.weights import Applied, StoredArray
from tests.backends.tvm.kernels.quantized import Example

HALVES = Example(35, 52, DType.U4, 16, DType.F16)
BYTES = Example(20, 10, DType.I8)
MINIMUMS = Example(35, 52, DType.U4, 16, DType.F16, minimum=True)


def test_codes_of_four_bits_lie_in_halves_of_bytes() -> None:
    weight = HALVES.expression()
    value: Any = weight.evaluate()
    packed = packed_parts(weight).arrays["codes"].evaluate().numpy()
    assert packed.shape == (3, 7, 64)
    for row, column in [(0, 0), (1, 3), (17, 4), (34, 51), (15, 46)]:
        byte = packed[row // 16, column // 8, row % 16 * 4 + column % 4]
        assert (byte >> 4 if column % 8 >= 4 else byte & 15) == value.codes[row, column]
    assert not packed[2, :, 3 * 4 :].any()
    assert not (packed[:, 6] >> 4).any()


def test_signed_codes_count_from_the_middle() -> None:
    weight = BYTES.expression()
    value: Any = weight.evaluate()
    packed = packed_parts(weight).arrays["codes"].evaluate().numpy()
    assert packed.shape == (2, 3, 64)
    for row, column in [(0, 0), (19, 9), (7, 6)]:
        assert packed[row // 16, column // 4, row % 16 * 4 + column % 4] == value.codes[row, column] + 128


def test_scales_and_zero_points_stand_side_by_side() -> None:
    weight = HALVES.expression()
    value: Any = weight.evaluate()
    parts = packed_parts(weight)
    scales = parts.arrays["scales"].evaluate().numpy().view(np.float16)
    zero_points = parts.arrays["zero_points"].evaluate()
    assert scales.shape == (3, 4, 16)
    for row, group in [(0, 0), (34, 3), (18, 2)]:
        assert scales[row // 16, group, row % 16] == value.scales[row, group].item()
        assert zero_points[row // 16, group, row % 16] == value.zero_points[row, group]
    assert not scales[2, :, 3:].any()


def test_minimums_lie_as_the_scales_do() -> None:
    weight = MINIMUMS.expression()
    value: Any = weight.evaluate()
    minimums = packed_parts(weight).arrays["minimums"].evaluate().numpy().view(np.float16)
    assert minimums.shape == (3, 4, 16)
    for row, group in [(0, 0), (34, 3), (18, 2)]:
        assert minimums[row // 16, group, row % 16] == value.minimums[row, group].item()
    assert not minimums[2, :, 3:].any()


@pytest.mark.parametrize(("example", "last"), [(HALVES, "zero_points"), (MINIMUMS, "minimums")], ids=str)
def test_types_are_those_of_the_values(example: Example, last: str) -> None:
    parts = packed_parts(example.expression())
    assert list(parts.arrays) == ["codes", "scales", last]
    for expression in parts.arrays.values():
        value = expression.evaluate()
        assert expression.type == tensor(DType.U8, *value.shape)
        assert value.dtype is torch.uint8


@pytest.mark.parametrize(
    "example",
    [
        HALVES,
        BYTES,
        Example(35, 52, DType.I4, 0, DType.BF16),
        Example(17, 64, DType.U8, 32),
        MINIMUMS,
        Example(20, 24, DType.U2, 8, DType.F8E4M3, minimum=True),
        Example(16, 24, DType.I4, 8, DType.F8E4M3),
        Example(33, 48, DType.F4E2M1, 16, DType.F8E4M3, tensor_scale=True),
    ],
    ids=str,
)
def test_what_is_unpacked_stands_for_the_same_numbers(example: Example) -> None:
    weight = example.expression()
    assert isinstance(weight.type, QuantizedType)
    parts = packed_parts(weight)
    matrix = unpacked(weight.type, parts.arrays)
    assert matrix.type == stored_type(weight.type)
    before: Any = weight.evaluate()
    after: Any = matrix.evaluate()
    assert torch.equal(after.dequantize(torch.float32), before.dequantize(torch.float32))
    if matrix.type == weight.type:
        assert torch.equal(after.codes, before.codes)
        assert torch.equal(after.scales, before.scales)


@pytest.mark.parametrize(
    ("definition", "packed", "attributes", "reason"),
    [
        (unpacked_codes, "u8[3, 7, 64]", {"to": DType.I4, "outer": 35, "inner": 40}, r"expected u8\[3, 5, 64\]"),
        (unpacked_codes, "u8[3, 7, 64]", {"to": DType.F4E2M1, "outer": 35, "inner": 52}, "codes of f4e2m1"),
        (unpacked_scales, "u8[3, 2, 32]", {"to": DType.F32, "outer": 35}, "expected u8"),
        (unpacked_zero_points, "u8[2, 2, 16]", {"to": DType.U4, "outer": 35}, "expected u8"),
        (unpacked_zero_points, "u8[3, 2, 16]", {"to": DType.I4, "outer": 35}, "zero points of i4"),
    ],
)
def test_what_cannot_be_unpacked(definition: OpDef, packed: str, attributes: dict[str, Any], reason: str) -> None:
    with pytest.raises(IRTypeError, match=reason):
        definition.rule(parse_type(packed), **attributes)


@pytest.mark.parametrize(
    ("type", "reason"),
    [
        (QuantizedType(DType.I4, tensor("f32", 8, 64).shape, 32, axis=-2), "not a matrix"),
        (QuantizedType(DType.F8E4M3, tensor("f32", 8, 64).shape, None), "codes of f8e4m3"),
        (QuantizedType(DType.I4, tensor("f32", 8, 64).shape, 4), "groups of 4"),
    ],
)
def test_what_no_kernel_reads_is_refused(type: QuantizedType, reason: str) -> None:
    assert reason in (packable(type) or "")
    with pytest.raises(IRTypeError, match=reason):
        packed_layout(type)


@pytest.mark.parametrize("element", [DType.I4, DType.U4, DType.I8])
def test_a_stack_of_whole_blocks_lies_as_the_matrix_of_all_its_rows(element: DType) -> None:
    numbers = torch.randn(3, 32, 52, generator=torch.Generator().manual_seed(0))
    attributes = {"to": element, "group": 16}
    both = (numbers, numbers.flatten(0, 1))
    stack, matrix = (Applied.of(ops.round_to_nearest, (StoredArray.of(each),), attributes) for each in both)
    assert packed_parts(stack).layout == packed_parts(matrix).layout
    found, wanted = packed_parts(stack).arrays, packed_parts(matrix).arrays
    assert found.keys() == wanted.keys()
    for name, array in found.items():
        assert torch.equal(array.evaluate(), wanted[name].evaluate()), name
    assert isinstance(stack.type, QuantizedType)
    again: Any = unpacked(stack.type, found).evaluate()
    value: Any = stack.evaluate()
    assert torch.equal(again.dequantize(torch.float64), value.dequantize(torch.float64))
    ragged = replace(stack.type, shape=(Dim.of(3), Dim.of(40), Dim.of(52)))
    assert packable(ragged) == f"the matrices of {ragged} are not made of blocks of 16 rows"
