from __future__ import annotations

import pytest
from hypothesis import given

from graphwright.ir import DType, QuantizedType, TextError, Type, tensor
from graphwright.ir.text import parse_type
from tests.ir.strategies import TYPES


@given(TYPES)
def test_text_is_exact(type: Type) -> None:
    assert parse_type(str(type)) == type
    assert str(parse_type(str(type))) == str(type)


@pytest.mark.parametrize(
    "text",
    [
        "f32[]",
        "bf16[B, S, 4096]",
        "q4<g128, asym>[4096, 4096]",
        "q8<channel, sym, scale=f16, axis=-2>[32, 64]",
        "qf8e4m3<channel, sym>[32, 64]",
        "q4<g32, min, scale=f16>[32, 64]",
        "q2<g16, min, scale=bf16, axis=-2>[32, 64]",
        "qf4e2m1<g32, sym, scale=f8e8m0>[32, 64]",
        "qf4e2m1<g16, sym, scale=f8e4m3, tensor>[32, 64]",
        "state<ring bf16[B, 8, C, 128]>",
        "state<recurrent f32[B, 8, 16, 64]>",
    ],
)
def test_printing_by_example(text: str) -> None:
    assert str(parse_type(text)) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("g32[2]", "<text>:1:1: 'g32' is not an element type"),
        ("f32", r"<text>:1:4: expected '\['"),
        ("f32[2", r"<text>:1:6: expected ','"),
        ("f32[2]]", "<text>:1:7: expected the end"),
        ("state<flat f32[2]>", "<text>:1:7: 'flat' is not a layout: write contiguous, ring, paged, recurrent"),
        ("q4<128, sym>[8]", "<text>:1:4: expected g and a group size, or channel"),
        ("q4<g0, sym>[8]", "<text>:1:4: 'g0' is not a group"),
        ("q4<g8, odd>[8]", "<text>:1:8: expected sym, asym or min, found 'odd'"),
        ("q4<g8, sym, scale=3>[8]", "<text>:1:13: a quantized type takes scale=DTYPE, axis=INTEGER and tensor"),
        ("q5<g8, sym>[8]", "<text>:1:1: there are no codes of 5 bits"),
        ("qf16<g8, sym>[8]", "<text>:1:1: there are no codes of f16"),
        ("qf8e4m3<g8, asym>[8]", "<text>:1:13: codes of f8e4m3 are symmetric"),
        ("qf8e4m3<g8, min>[8]", "<text>:1:1: codes of f8e4m3 have no minimum"),
        ("q4<g8, min, asym>[8]", "<text>:1:17: expected '='"),
        ("q4<g8, min, scale=f8e8m0>[8]", "<text>:1:1: minimums have the type of the scales, and f8e8m0 has neither"),
        ("q4<g8, min, tensor>[8]", "<text>:1:1: a scale of the whole tensor and minimums do not go together"),
        ("q4<g8, sym, scale=i8>[8]", "<text>:1:1: there are no scales of i8"),
        ("q4<g8, sym, zero=u4>[8]", "<text>:1:13: a quantized type takes scale=DTYPE, axis=INTEGER and tensor"),
    ],
)
def test_bad_types_are_refused_with_their_place(text: str, problem: str) -> None:
    with pytest.raises(TextError, match=problem):
        parse_type(text)


def test_bits() -> None:
    assert tensor("f32", 3, 5).bits == 480
    assert str(tensor("bf16", "B", "S", 8).bits) == "128*B*S"
    # 8 by 100 elements in groups of 32: four groups a row, the last one cut short.
    assert QuantizedType(DType.I4, tensor("f32", 8, 100).shape, 32, DType.F16).bits == 8 * 100 * 4 + 8 * 4 * 16
    assert QuantizedType(DType.U4, tensor("f32", 8, 100).shape, 32, DType.F16).bits == 8 * 100 * 4 + 8 * 4 * (16 + 4)
    minimums = QuantizedType(DType.U4, tensor("f32", 8, 100).shape, 32, DType.F16, minimum=True)
    assert minimums.bits == 8 * 100 * 4 + 8 * 4 * (16 + 16)
    assert QuantizedType(DType.I8, tensor("f32", 8, 100).shape, None, axis=0).bits == 8 * 100 * 8 + 100 * 32


def test_every_element_type_knows_its_size_and_kind() -> None:
    sizes = {"bool": 8, "u3": 3, "i4": 4, "f4e2m1": 4, "f8e8m0": 8, "bf16": 16, "f64": 64}
    assert {name: DType(name).bits for name in sizes} == sizes
    for dtype in DType:
        assert dtype.is_float + dtype.is_integer + (dtype is DType.BOOL) == 1
