"""Products with float weights: every number of rows, widths that fill no panel, every element type, every CPU."""

from __future__ import annotations

import pytest
import torch

from graphwright.backends.tvm.cpu import AVX2, GENERIC, Cpu, host_cpu
from graphwright.backends.tvm.kernels.float_linear import linear
from tests.backends.tvm.kernels.floats import DTYPES, function, packed, rounding_bound
from tests.backends.tvm.kernels.standalone import written

CPUS = {"generic": GENERIC, "avx2": AVX2, "host": host_cpu()}


def _check(
    cpu: Cpu, tokens: int | None, inner: int, outer: int, weight_dtype: str, bias: bool, counts: list[int]
) -> None:
    kernel = written(
        "linear", linear, cpu, tokens=tokens, inner=inner, outer=outer, weight_dtype=weight_dtype, bias=bias
    )
    multiply = function(kernel, cpu)
    generator = torch.Generator().manual_seed(inner + outer)
    weight = torch.randn(outer, inner, generator=generator).to(DTYPES[weight_dtype])
    vector = torch.randn(outer, generator=generator)
    added = vector.double() if bias else torch.zeros(outer, dtype=torch.float64)
    for count in counts:
        x = torch.randn(count, inner, generator=generator)
        y = torch.full((count, outer), torch.nan)
        multiply(x, packed(weight), *([vector] if bias else []), y)
        expected = x.double() @ weight.double().T + added
        magnitudes = x.double().abs() @ weight.double().abs().T + added.abs()
        error = (y.double() - expected).abs()
        assert bool((error <= rounding_bound(magnitudes, inner + 1)).all()), f"{count} rows: {error.max():.2e}"


@pytest.mark.parametrize("name", CPUS)
def test_any_number_of_rows(name: str) -> None:
    _check(CPUS[name], None, 172, 27, "float32", True, [1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 37, 200])


@pytest.mark.parametrize("weight_dtype", ["bfloat16", "float16"])
def test_narrow_weights(weight_dtype: str) -> None:
    _check(host_cpu(), None, 35, 48, weight_dtype, False, [1, 4, 8, 21])


@pytest.mark.parametrize("tokens", [1, 2, 4, 8, 20])
def test_a_known_number_of_rows(tokens: int) -> None:
    _check(host_cpu(), tokens, 40, 80, "float32", False, [tokens])


@pytest.mark.parametrize("name", ["generic", "avx2"])
@pytest.mark.parametrize("weight_dtype", ["bfloat16", "float16"])
def test_narrow_weights_on_other_cpus(name: str, weight_dtype: str) -> None:
    _check(CPUS[name], 2, 35, 27, weight_dtype, True, [2])


def test_one_number_of_rows_gives_the_same_numbers_known_or_not() -> None:
    """Decode and prefill of one token agree to the bit."""
    weight, x = packed(torch.randn(48, 40)), torch.randn(1, 40)
    results: list[torch.Tensor] = []
    for tokens in (1, None):
        results.append(torch.empty(1, 48))
        function(written("linear", linear, host_cpu(), tokens=tokens, inner=40, outer=48), host_cpu())(
            x, weight, results[-1]
        )
    assert torch.equal(*results)
