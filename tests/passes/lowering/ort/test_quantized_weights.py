"""Quantized weights on IR text: products and rows over packed codes, or over floats, and why."""

from __future__ import annotations

import torch

from graphwright.passes import parse_passes
from tests.passes.graphs import applied, body, program
from tests.tensors import listed


def weight(group: int, element: str = "u4") -> str:
    """Text of a weight [4, 32] of random codes, zero points and scales that are powers of two, so sums are exact."""
    generator = torch.Generator().manual_seed(0)

    def data(type: str, columns: int, values: int, divisor: float = 0) -> str:
        drawn = listed(torch.randint(1, values, (4, columns), generator=generator).flatten())
        numbers = [str(2.0**-n) if divisor else str(n) for n in drawn]
        return f"data([{', '.join(numbers)}]) : {type}[4, {columns}]"

    groups = 32 // group
    parts = ", ".join([data(element, 32, 16), data("f32", groups, 5, 2.0), data(element, groups, 8)])
    return f"weight @w : q4<g{group}, asym>[4, 32] = quantized({parts}) {{group={group}}}\n"


LINEAR = "(%x: f32[B, 32]) {\n  %y = linear(%x, @w) : f32[B, 4]  at layer\n  return y=%y\n}"
ROWS = "(%i: i64[B, S]) {\n  %y = quantized_embedding(@w, %i) : f32[B, S, 32]  at table\n  return y=%y\n}"


def test_a_product_reads_packed_codes() -> None:
    text, misses = applied(program(LINEAR, weight(16)), *parse_passes("ort-quantized"))
    assert "ort.matmul_nbits(%x, @w.codes, @w.scales, zero_points=@w.zero_points)" in text
    assert not misses
    text, misses = applied(program(LINEAR, weight(16)), *parse_passes("ort-quantized{dialect=portable}"))
    assert body(text) == ["onnx.dequantize_linear", "matmul"]
    assert not misses


def test_rows_are_picked_out_of_packed_codes() -> None:
    text, misses = applied(program(ROWS, weight(16)), *parse_passes("ort-quantized"))
    assert body(text) == ["ort.gather_block_quantized"]
    assert not misses
    text, misses = applied(program(ROWS, weight(16)), *parse_passes("ort-quantized{dialect=portable}"))
    assert body(text) == ["onnx.gather_blocks"]
    assert not misses


def test_codes_in_groups_that_no_operator_has_are_stored_as_floats_and_say_why() -> None:
    text, misses = applied(program(LINEAR, weight(8)), *parse_passes("ort-quantized"))
    assert "linear(%x, @w.f32)" in text
    reason = "groups of 8 are not made of blocks of 16"
    assert [str(m) for m in misses] == [f"quantized-product at layer: {reason}; its weight is stored as f32"]
    text, misses = applied(program(ROWS, weight(8)), *parse_passes("ort-quantized"))
    assert "embedding(@w.f32, %i)" in text
    assert [str(m) for m in misses] == [f"quantized-rows at table: {reason}; its table is stored as f32"]


def test_a_product_of_floats_stays() -> None:
    floats = "weight @w : f32[4, 32] = data([" + ", ".join(["0.5"] * 128) + "]) : f32[4, 32]\n"
    text, misses = applied(program(LINEAR, floats), *parse_passes("ort-quantized"))
    assert body(text) == ["linear"]
    assert not misses
