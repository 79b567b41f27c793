"""Products of rounded tokens with quantized weights, against float64."""

from __future__ import annotations

import numpy as np
import pytest

from graphwright.backends.tvm.cpu import AVX2, GENERIC, Cpu, host_cpu
from graphwright.backends.tvm.kernels.rounded_linear import rounded_linear
from graphwright.backends.tvm.kernels.tiles import Spans
from graphwright.backends.tvm.targets import LEVELS
from graphwright.ir.dialects.cpu.packed_weights import PackedWeight, packed_parts
from graphwright.ir.types import DType
from tests.backends.tvm.kernels.quantized import (
    EPSILON,
    Example,
    exact_weight,
    magnitudes,
    packed_arrays,
    rounded,
    tokens,
)
from tests.backends.tvm.kernels.standalone import compiled, run, written


def check(cpu: Cpu, example: Example, rounding: int, known: int | None, *counts: int, bias: bool = False) -> None:
    """The kernel for a known number of tokens, or None, gives y within the error of its float32 sums."""
    weight = example.expression()
    layout = packed_parts(weight).layout
    kernel = compiled(
        written("rounded_linear", rounded_linear, cpu, tokens=known, weight=layout, rounding=rounding, bias=bias), cpu
    )
    added = np.linspace(-1, 1, example.outer, dtype=np.float32)
    exact = exact_weight(weight)
    for count in counts:
        x = tokens(count, example.inner)
        y = np.full((count, example.outer), np.nan, np.float32)
        found = run(kernel, x, *packed_arrays(weight), *([added] if bias else []), y)[-1]
        read = rounded(x, rounding).astype(np.float64)
        expected = read @ exact.T + (added if bias else 0)
        # A span's integer sum is rounded once, as are its scale, the scaled sum and each addition of such sums; the
        # reference's scaled codes are rounded once more.
        # A minimum times the sum of codes has as many roundings as a scale times the sum of products.
        roundings = (1 + layout.minimums) * Spans(layout, rounding).count + 5
        size = np.abs(read) @ magnitudes(weight).T + np.abs(expected)
        assert (np.abs(found - expected) <= roundings * EPSILON * size).all()


@pytest.mark.parametrize("cpu", [host_cpu(), AVX2, GENERIC], ids=["host", "avx2", "generic"])
def test_lengths_that_fill_neither_blocks_nor_groups(cpu: Cpu) -> None:
    check(cpu, Example(100, 172), 0, 1, 1, bias=True)
    check(cpu, Example(96, 200, DType.U4, 128, DType.BF16), 64, 4, 4)
    check(cpu, Example(40, 101, DType.I8, 0, DType.F16), 0, 2, 2)
    check(cpu, Example(40, 100, DType.U8, 32), 0, 3, 3)
    check(cpu, Example(40, 100, DType.U4, 32, DType.F16, minimum=True), 32, 1, 1, bias=True)


@pytest.mark.parametrize("cpu", [host_cpu(), AVX2], ids=["host", "avx2"])
def test_any_number_of_tokens(cpu: Cpu) -> None:
    check(cpu, Example(64, 160, DType.I4, 64, DType.F16), 128, None, 1, 3, 4, 7, 8, 9, 12, 33)


def test_any_number_of_tokens_with_zero_points_and_a_cut_block() -> None:
    check(host_cpu(), Example(20, 96, DType.U8, 32), 32, None, 1, 5, 17, bias=True)


def test_any_number_of_tokens_with_minimums() -> None:
    check(host_cpu(), Example(20, 96, DType.U8, 32, minimum=True), 64, None, 1, 5, 17)


@pytest.mark.parametrize("cpu", [AVX2, LEVELS["v4"]], ids=["avx2", "v4"])
def test_the_largest_products_fit_where_pairs_are_added_in_few_bits(cpu: Cpu) -> None:
    if not cpu.features <= host_cpu().features:
        pytest.skip(f"this machine runs no code for {cpu.name}")
    layout = PackedWeight(32, 288, 4, 96, "float32", zero_points=False)
    kernel = compiled(
        written("rounded_linear", rounded_linear, cpu, tokens=5, weight=layout, rounding=0, bias=False), cpu
    )
    codes = np.full(layout.codes_shape, 255, np.uint8)
    scales = np.ones((layout.blocks, layout.groups, 16), np.float32).view(np.uint8)
    x = np.ones((5, layout.inner), np.float32) * np.array([[1], [-1], [2], [-2], [1]], np.float32)
    y = np.full((5, layout.outer), np.nan, np.float32)
    found = run(kernel, x, codes, scales, y)[-1]
    np.testing.assert_allclose(found, np.repeat(7 * x.sum(axis=1, keepdims=True), layout.outer, axis=1), rtol=1e-6)


NVFP4 = Example(32, 64, DType.F4E2M1, 16, DType.F8E4M3, tensor_scale=True)


@pytest.mark.parametrize(
    "example", [Example(32, 64, DType.I2, 32), Example(32, 64, DType.U3, 32), NVFP4], ids=["i2", "u3", "nvfp4"]
)
def test_codes_that_are_stored_in_more_bits(example: Example) -> None:
    check(host_cpu(), example, 0, 1, 1)
