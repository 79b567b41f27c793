"""Products of float tokens with quantized weights, against float64."""

from __future__ import annotations

import numpy as np
import pytest

from graphwright.backends.tvm.cpu import AVX2, GENERIC, Cpu, host_cpu
from graphwright.backends.tvm.kernels.weight_only_linear import weight_only_linear
from graphwright.ir.dialects.cpu.packed_weights import packed_parts
from graphwright.ir.types import DType
from tests.backends.tvm.kernels.quantized import EPSILON, Example, exact_weight, packed_arrays, tokens
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
        size = np.abs(x.astype(np.float64)) @ np.abs(exact).T + np.abs(expected)
        assert (np.abs(found - expected) <= (example.inner + layout.groups + 4) * EPSILON * size).all()


@pytest.mark.parametrize("cpu", [host_cpu(), AVX2, GENERIC], ids=["host", "avx2", "generic"])
def test_lengths_that_fill_neither_blocks_nor_groups(cpu: Cpu) -> None:
    check(cpu, Example(100, 172), 1, 1, bias=True)
    check(cpu, Example(32, 200, DType.U4, 128, DType.BF16), 4, 4)
    check(cpu, Example(40, 101, DType.I8, 0, DType.F16), 2, 2)


def test_any_number_of_tokens() -> None:
    check(host_cpu(), Example(40, 96, DType.I4, 32, DType.F16), None, 1, 3, 7, 9, 21)
    check(AVX2, Example(20, 40, DType.U8, 32), None, 3, 9, bias=True)
