"""The packed layout, code by code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from graphwright.backends.tvm.packing.quantized import packed_layout, packed_parts
from graphwright.ir.dialects.cpu.capabilities import packable
from graphwright.ir.errors import IRTypeError
from graphwright.ir.types import DType, QuantizedType, tensor
from tests.backends.tvm.kernels.quantized import Example

HALVES = Example(35, 52, DType.U4, 16, DType.F16)
BYTES = Example(20, 10, DType.I8)


def test_codes_of_four_bits_lie_in_halves_of_bytes() -> None:
    weight = HALVES.expression()
    value: Any = weight.evaluate()
    packed = packed_parts(weight).codes.evaluate().numpy()
    assert packed.shape == (3, 7, 64)
    for row, column in [(0, 0), (1, 3), (17, 4), (34, 51), (15, 46)]:
        byte = packed[row // 16, column // 8, row % 16 * 4 + column % 4]
        assert (byte >> 4 if column % 8 >= 4 else byte & 15) == value.codes[row, column]
    assert not packed[2, :, 3 * 4 :].any()
    assert not (packed[:, 6] >> 4).any()


def test_signed_codes_count_from_the_middle() -> None:
    weight = BYTES.expression()
    value: Any = weight.evaluate()
    packed = packed_parts(weight).codes.evaluate().numpy()
    assert packed.shape == (2, 3, 64)
    for row, column in [(0, 0), (19, 9), (7, 6)]:
        assert packed[row // 16, column // 4, row % 16 * 4 + column % 4] == value.codes[row, column] + 128


def test_scales_and_zero_points_stand_side_by_side() -> None:
    weight = HALVES.expression()
    value: Any = weight.evaluate()
    parts = packed_parts(weight)
    assert parts.zero_points is not None
    scales = parts.scales.evaluate().numpy().view(np.float16)
    zero_points = parts.zero_points.evaluate()
    assert scales.shape == (3, 4, 16)
    for row, group in [(0, 0), (34, 3), (18, 2)]:
        assert scales[row // 16, group, row % 16] == value.scales[row, group].item()
        assert zero_points[row // 16, group, row % 16] == value.zero_points[row, group]
    assert not scales[2, :, 3:].any()


def test_types_are_those_of_the_values() -> None:
    parts = packed_parts(HALVES.expression())
    for expression in (parts.codes, parts.scales, parts.zero_points):
        assert expression is not None
        value = expression.evaluate()
        assert expression.type == tensor(DType.U8, *value.shape)
        assert value.dtype is torch.uint8


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
