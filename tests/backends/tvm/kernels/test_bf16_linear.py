"""Products of rounded numbers: the arithmetic of AVX-512 BF16 to the bit, and the same order of sums for all rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphwright.backends.tvm.cpu import AVX2, GENERIC, Cpu, host_cpu
from graphwright.backends.tvm.kernels.bf16_linear import bf16_linear
from graphwright.backends.tvm.library.layouts import packed_pairs
from graphwright.ir.weights import StoredArray
from tests.backends.tvm.kernels.floats import function, rounding_bound
from tests.backends.tvm.kernels.standalone import written

CPUS = {"generic": GENERIC, "avx2": AVX2, "host": host_cpu()}
SMALLEST = 2.0**-126
needs_bf16 = pytest.mark.skipif(not host_cpu().has_bf16, reason="this CPU has no AVX-512 BF16")


def pairs(weight: Tensor) -> Tensor:
    """A matrix as its kernel sees it: i32 [panels, pairs, 16]."""
    return packed_pairs(StoredArray.of(weight)).evaluate().contiguous().view(torch.int32).squeeze(-1)


def products(cpu: Cpu, tokens: int | None, weight: Tensor, bias: Tensor | None, rows: list[Tensor]) -> list[Tensor]:
    """Of each x what the kernel makes of it."""
    outer, inner = weight.shape
    kernel = written("bf16_linear", bf16_linear, cpu, tokens=tokens, inner=inner, outer=outer, bias=bias is not None)
    multiply = function(kernel, cpu)
    found = [torch.full((len(x), outer), torch.nan) for x in rows]
    for x, y in zip(rows, found, strict=True):
        multiply(x, pairs(weight), *([] if bias is None else [bias]), y)
    return found


def flushed(x: Tensor) -> Tensor:
    return torch.where(x.abs() < SMALLEST, torch.zeros_like(x), x)


def as_the_processor(x: Tensor, weight: Tensor) -> Tensor:
    """x [rows, 2n] times weight [outer, 2n] as Intel documents `vcvtne2ps2bf16` and `vdpbf16ps`.

    A product of two bf16 numbers has 16 bits, so float64 adds it to a float32 nearly always without rounding twice.
    """
    x, weight = flushed(x).bfloat16().double(), weight.bfloat16().double()
    sums = torch.zeros(len(x), len(weight))
    for pair in range(x.shape[1] // 2):
        for place in (2 * pair + 1, 2 * pair):
            sums = flushed((sums.double() + x[:, None, place] * weight[None, :, place]).float())
    return sums


@pytest.mark.parametrize("name", CPUS)
@pytest.mark.parametrize(("inner", "outer", "biased"), [(172, 27, True), (35, 48, False)])
def test_any_number_of_rows_and_one_order_of_sums(name: str, inner: int, outer: int, biased: bool) -> None:
    generator = torch.Generator().manual_seed(inner)
    weight = torch.randn(outer, inner, generator=generator)
    bias = torch.randn(outer, generator=generator) if biased else None
    x = torch.randn(37, inner, generator=generator)
    counts = [37, 1, 2, 3, 4, 5, 8, 9, 13]
    found = products(CPUS[name], None, weight, bias, [x[:count].contiguous() for count in counts])
    exact, near = weight.bfloat16().double(), x.bfloat16().double()
    added = torch.zeros(outer) if bias is None else bias
    bound = rounding_bound(near.abs() @ exact.abs().T + added.abs(), inner + 2)
    assert bool(((found[0] - (near @ exact.T + added)).abs() <= bound).all())
    for count, y in zip(counts, found, strict=True):
        assert torch.equal(y, found[0][:count]), f"{count} rows"


@needs_bf16
def test_a_known_number_of_rows_gives_the_same_numbers() -> None:
    weight, x = torch.randn(80, 96), torch.randn(20, 96)
    (whole,) = products(host_cpu(), None, weight, None, [x])
    for tokens in (1, 8, 20):
        (found,) = products(host_cpu(), tokens, weight, None, [x[:tokens].contiguous()])
        assert torch.equal(found, whole[:tokens])


@needs_bf16
def test_the_arithmetic_is_the_documented_one() -> None:
    generator = torch.Generator().manual_seed(5)
    spread = torch.randint(-20, 20, (12, 64), generator=generator)
    x = torch.randn(12, 64, generator=generator) * 2.0**spread
    weight = torch.randn(33, 64, generator=generator)
    # Products and sums at the edge of what is flushed, ties of rounding, and numbers that are none.
    x[0] *= 2.0**-120
    x[1, :8] = torch.tensor([1 + 2.0**-8, 1 + 3 * 2.0**-8, SMALLEST / 2, -SMALLEST, 0.0, -0.0, 3e38, 1.0])
    (found,) = products(host_cpu(), None, weight, None, [x])
    assert torch.equal(found, as_the_processor(x, weight))
    x[2, 3] = torch.nan
    (found,) = products(host_cpu(), None, weight, None, [x])
    assert bool(found[2].isnan().all())
    assert not found[3:].isnan().any()
