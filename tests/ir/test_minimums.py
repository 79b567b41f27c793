"""Weights with a minimum a group: their values, those of GGUF's blocks too, and how numbers become codes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from graphwright.ir import DType, ops
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.rounding import Search, quantize
from graphwright.ir.weights import Applied, StoredArray
from tests.ir.quantized_types import of


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stored(packed: Tensor, element: DType, scales: Tensor, minimums: Tensor, group: int) -> Applied:
    """The weight of packed codes, lowest bits first, of scales and of minimums."""
    unpacking = {"to": element, "length": packed.shape[1] * 8 // element.bits}
    codes = Applied.of(ops.unpack_bits, (StoredArray.of(packed),), unpacking)
    parts = (codes, StoredArray.of(scales), None, None, StoredArray.of(minimums))
    return Applied.of(ops.quantized, parts, {"group": group})


def numbers(weight: Applied) -> Tensor:
    return Applied.of(ops.dequantize, (weight,), {}).evaluate()


def test_blocks_of_q4_1_are_exact() -> None:
    """ggml's block_q4_1: d and m in float16 and 16 bytes, of which the low halves are numbers 0 to 15 and the high
    halves 16 to 31; a number is d * q + m in float32."""
    bytes_ = torch.randint(0, 256, (5, 2, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    d, m = random(5, 2).half(), random(5, 2, seed=1).half()
    codes = torch.cat([bytes_ & 15, bytes_ >> 4], -1)
    expected = (d.float()[..., None] * codes.float() + m.float()[..., None]).reshape(5, 64)
    in_order = codes.reshape(5, 32, 2)
    weight = stored(in_order[..., 0] | in_order[..., 1] << 4, DType.U4, d, m, 32)
    assert str(weight.type) == "q4<g32, min, scale=f16>[5, 64]"
    assert torch.equal(numbers(weight), expected)


def test_blocks_of_q4_k_are_exact_with_their_scales_and_minimums_multiplied_out() -> None:
    """ggml's block_q4_K: 8 groups of 32, of which each has a scale and a minimum of 6 bits; a number is
    (d * scale) * q - dmin * minimum in float32."""
    generator = torch.Generator().manual_seed(2)
    codes = torch.randint(0, 16, (3, 8, 32), dtype=torch.uint8, generator=generator)
    six = [torch.randint(0, 64, (3, 8), generator=generator).float() for _ in range(2)]
    d, least = random(3, 1).half().float() * six[0], random(3, 1, seed=1).half().float() * six[1]
    expected = (d[..., None] * codes.float() - least[..., None]).reshape(3, 256)
    in_order = codes.reshape(3, 128, 2)
    weight = stored(in_order[..., 0] | in_order[..., 1] << 4, DType.U4, d, -least, 32)
    assert str(weight.type) == "q4<g32, min>[3, 256]"
    assert torch.equal(numbers(weight), expected)


@pytest.mark.parametrize("element", [DType.U2, DType.U3, DType.U4, DType.U8], ids=str)
@pytest.mark.parametrize("group", [None, 16, 7])
def test_by_absmax_the_least_is_the_minimum_and_the_greatest_the_last_code(element: DType, group: int | None) -> None:
    x = random(5, 45) + 3
    q = quantize(x, of(element, (5, 45), group, minimum=True), "absmax")
    size, last = group or 45, 2**element.bits - 1
    assert q.minimums is not None
    assert q.zero_points is None
    for number, part in enumerate(torch.split(x, size, 1)):
        low, high = part.amin(1), part.amax(1)
        assert torch.equal(q.minimums[:, number], low)
        assert torch.equal(q.scales[:, number], (high - low) / last)
        rows = q.codes[:, number * size : number * size + part.shape[1]]
        expected = ((part - low[:, None]) / q.scales[:, number, None]).round()
        assert torch.equal(rows, expected.to(torch.uint8))


@pytest.mark.parametrize("element", [DType.U2, DType.U4, DType.U8], ids=str)
@pytest.mark.parametrize("scale", [DType.F32, DType.F16, DType.F8E4M3], ids=str)
def test_the_search_never_adds_error(element: DType, scale: DType) -> None:
    x = random(16, 60) + 0.5
    searches: tuple[Search, ...] = ("absmax", "mse")
    type = of(element, (16, 60), 16, scale_dtype=scale, minimum=True)
    errors = [(quantize(x, type, search).dequantize(torch.float64) - x).square().sum() for search in searches]
    assert errors[1] <= errors[0] * (1 + 1e-6)
    assert element is DType.U8 or errors[1] < errors[0] * 0.95


def test_two_numbers_a_group_and_one_are_exact() -> None:
    x = torch.tensor([[0.5, -0.25, 0.5, 0.5], [7, 7, 7, 7], [0, 0, 0, 0]])
    for search in ("absmax", "mse"):
        q = quantize(x, of(DType.U4, (3, 4), None, scale_dtype=DType.F16, minimum=True), search)
        assert (q.dequantize(torch.float32) - x).abs().max() <= 0.75 * 2**-10
        assert torch.equal(q.dequantize(torch.float32)[1:], x[1:])
        assert torch.isfinite(q.scales).all()


def test_minimums_outside_their_type_are_the_nearest_that_it_holds() -> None:
    q = quantize(random(2, 8) * 1e6, of(DType.U4, (2, 8), None, scale_dtype=DType.F16, minimum=True), "mse")
    assert q.minimums is not None
    assert torch.isfinite(q.minimums).all()


def test_rows_and_axes_carry_their_minimums() -> None:
    x = random(9, 20)
    along: QuantizedTensor = quantize(x, of(DType.U3, (9, 20), 8, minimum=True), "mse")
    across = quantize(x.T.contiguous(), of(DType.U3, (20, 9), 8, axis=0, minimum=True), "mse")
    assert torch.equal(along.dequantize(torch.float32), across.dequantize(torch.float32).T)
    picked = along.rows(torch.tensor([4, 0]))
    assert torch.equal(picked.dequantize(torch.float32), along.dequantize(torch.float32)[[4, 0]])
