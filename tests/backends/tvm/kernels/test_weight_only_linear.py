"""Products of float tokens with quantized weights, against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphwright.backends.tvm.cpu import AVX2, GENERIC, Cpu, host_cpu
from graphwright.backends.tvm.kernels.weight_only_linear import weight_only_linear
from graphwright.ir.dialects.cpu.packed_weights import packed_parts
from graphwright.ir.types import DType
from tests.backends.tvm.kernels.quantized import (
    EPSILON,
    Array,
    Example,
    exact_weight,
    magnitudes,
    packed_arrays,
    tokens,
)
from tests.backends.tvm.kernels.standalone import compiled, run, written


def check(cpu: Cpu, example: Example, known: int | None, *counts: int, bias: bool = False) -> None:
    """The kernel for a known number of tokens, or None, gives y within the error of a float32 sum of its length."""
    weight = example.expression()
    layout = packed_parts(weight).layout
    kernel = compiled(written("linear_by_codes", weight_only_linear, cpu, tokens=known, weight=layout, bias=bias), cpu)
    added = np.linspace(-1, 1, example.outer, dtype=np.float32)
    exact = exact_weight(weight)
    for count in counts:
        x = tokens(count, example.inner)
        y = np.full((count, example.outer), np.nan, np.float32)
        found = run(kernel, x, *packed_arrays(weight), *([added] if bias else []), y)[-1]
        expected = x.astype(np.float64) @ exact.T + (added if bias else 0)
        # Numbers are products of whole numbers and scales: each is multiplied and added once, and its group's sum too.
        # Each minimum is multiplied and added once, to a group's sum of tokens.
        size = np.abs(x.astype(np.float64)) @ magnitudes(weight).T + np.abs(expected)
        roundings = example.inner + (1 + layout.minimums) * layout.groups + 4
        assert (np.abs(found - expected) <= roundings * EPSILON * size).all()


@pytest.mark.parametrize("cpu", [host_cpu(), AVX2, GENERIC], ids=["host", "avx2", "generic"])
def test_lengths_that_fill_neither_blocks_nor_groups(cpu: Cpu) -> None:
    check(cpu, Example(100, 172), 1, 1, bias=True)
    check(cpu, Example(32, 200, DType.U4, 128, DType.BF16), 4, 4)
    check(cpu, Example(40, 101, DType.I8, 0, DType.F16), 2, 2)
    check(cpu, Example(40, 101, DType.U4, 32, DType.F16, minimum=True), 1, 1, bias=True)


def test_any_number_of_tokens() -> None:
    check(host_cpu(), Example(40, 96, DType.I4, 32, DType.F16), None, 1, 3, 7, 9, 21)
    check(AVX2, Example(20, 40, DType.U8, 32), None, 3, 9, bias=True)


def test_rows_with_minimums_do_not_depend_on_the_number_of_tokens() -> None:
    example = Example(40, 96, DType.U4, 32, DType.F16, minimum=True)
    check(host_cpu(), example, None, 1, 3, 9, 21)
    weight, x = example.expression(), tokens(21, 96)
    kernels = [
        written("linear_by_codes", weight_only_linear, host_cpu(), tokens=known, weight=layout, bias=False)
        for known, layout in ((None, packed_parts(weight).layout), (1, packed_parts(weight).layout))
    ]
    whole, single = (compiled(kernel, host_cpu()) for kernel in kernels)

    def products(kernel: Any, begin: int, end: int) -> Array:
        y = np.full((end - begin, example.outer), np.nan, np.float32)
        return run(kernel, x[begin:end], *packed_arrays(weight), y)[-1]

    expected = products(whole, 0, 21)
    for begin, end in ((0, 1), (1, 4), (3, 12)):
        assert (products(whole, begin, end) == expected[begin:end]).all()
    assert (products(single, 5, 6) == expected[5:6]).all()
