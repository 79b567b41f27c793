"""Rounding to nearest against definitions written out, and packing against shifting bits by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphwright.ir import DType, IRTypeError, ops, rounding, tensor
from graphwright.ir.quantized import F4E2M1_VALUES, QuantizedTensor
from graphwright.ir.rounding import Grid, Search, quantize
from graphwright.ir.types import CODE_TYPES, QuantizedType
from graphwright.ir.weights import Applied, StoredArray
from tests.ir.evaluation import evaluate
from tests.ir.quantized_types import of
from tests.tensors import listed

INTEGERS = sorted((d for d in CODE_TYPES if d.is_integer), key=str)
FLOATS = sorted((d for d in CODE_TYPES if d.is_float), key=str)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("search", ["absmax", "mse"])
@pytest.mark.parametrize("element", INTEGERS, ids=str)
@pytest.mark.parametrize("group", [None, 32, 7])
def test_every_code_is_the_nearest(element: DType, group: int | None, search: Search) -> None:
    x = random(5, 45)
    q = quantize(x, of(element, (5, 45), group), search)
    value = q.dequantize(torch.float64)
    grid = Grid(element)
    assert grid.least <= q.codes.min()
    assert q.codes.max() <= grid.most
    for change in (-1, 1):
        other = (q.codes.to(torch.int16) + change).clamp(grid.least, grid.most)
        moved = value + (other - q.codes) * _scale(q)
        # A zero point is rounded first, so that an element may be half a step of rounding off.
        slack = 0 if q.zero_points is None else 0.5 * _scale(q).abs()
        assert ((value - x).abs() <= (moved - x).abs() + slack + 1e-6).all()


def _scale(q: QuantizedTensor) -> torch.Tensor:
    group = q.type.group or q.codes.shape[-1]
    return q.scales.double().repeat_interleave(group, -1)[..., : q.codes.shape[-1]]


@pytest.mark.parametrize("element", [*INTEGERS, *FLOATS], ids=str)
def test_the_search_never_adds_error(element: DType) -> None:
    x = random(16, 64)
    searches: tuple[Search, ...] = ("absmax", "mse")
    rounded = [quantize(x, of(element, (16, 64), 16), search).dequantize(torch.float64) for search in searches]
    errors = [(each - x).square().sum() for each in rounded]
    assert errors[1] <= errors[0] * (1 + 1e-6)


def test_absmax_cuts_nothing_off() -> None:
    x = random(8, 32)
    for element in (DType.I8, DType.U8):
        q = quantize(x, of(element, (8, 32), None), "absmax")
        assert ((q.dequantize(torch.float64) - x).abs() <= q.scales.abs() * 0.5001).all() or element is DType.U8
        assert ((q.dequantize(torch.float64) - x).abs() <= q.scales.abs() * 1.0001).all()


@pytest.mark.parametrize("element", [*INTEGERS, *FLOATS], ids=str)
def test_zeros_stay_zeros(element: DType) -> None:
    q = quantize(torch.zeros(2, 8), of(element, (2, 8), 4), "mse")
    assert not q.dequantize(torch.float32).any()
    assert torch.isfinite(q.scales.float()).all()


def test_f4e2m1_rounds_to_even_codes() -> None:
    values = torch.tensor(F4E2M1_VALUES)
    codes = Grid(DType.F4E2M1).encode(values)
    assert listed(codes) == [*range(8), 0, *range(9, 16)]  # -0 is 0
    halves = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 100.0])
    # OCP microscaling: to nearest, ties to the even significand.
    assert listed(values[Grid(DType.F4E2M1).encode(halves).long()]) == [0, 1, 1, 2, 2, 4, 4, 6]
    assert listed(values[Grid(DType.F4E2M1).encode(-halves).long()]) == [0, -1, -1, -2, -2, -4, -4, -6]


def test_mxfp4_has_scales_that_are_powers_of_two_and_nvfp4_one_scale_more() -> None:
    x = random(4, 64)
    mx = quantize(x, of(DType.F4E2M1, (4, 64), 32, scale_dtype=DType.F8E8M0), "absmax")
    assert mx.scales.dtype is torch.float8_e8m0fnu
    assert torch.equal(torch.log2(mx.scales.float()), torch.log2(mx.scales.float()).round())
    nv = quantize(x, of(DType.F4E2M1, (4, 64), 16, scale_dtype=DType.F8E4M3, tensor_scale=True), "absmax")
    assert nv.tensor_scale is not None
    assert nv.scales.float().max() == 448
    for q in (mx, nv):
        assert (q.dequantize(torch.float64) - x).square().mean() < 0.03


@given(st.integers(1, 9), st.integers(0, 2**31), st.sampled_from([d for d in CODE_TYPES if d.bits < 8]))
@settings(max_examples=60, deadline=None)
def test_packing_is_undone_and_puts_low_bits_first(count: int, seed: int, element: DType) -> None:
    signed = element.value[0] == "i"
    low = -(1 << (element.bits - 1)) if signed else 0
    codes = torch.randint(low, low + (1 << element.bits), (2, count), generator=torch.Generator().manual_seed(seed))
    held = codes.to(torch.int8 if signed else torch.uint8)
    expression = StoredArray(held, tensor(element, 2, count))
    packed = Applied.of(ops.pack_bits, (expression,), {"bits": element.bits}).evaluate()
    for row, bytes_ in zip(listed(codes), listed(packed), strict=True):
        number = sum((c & ((1 << element.bits) - 1)) << (i * element.bits) for i, c in enumerate(row))
        assert bytes(bytes_) == number.to_bytes(-(-count * element.bits // 8), "little")
    assert torch.equal(evaluate(ops.unpack_bits, packed, to=element, length=count), held)


@pytest.mark.parametrize("element", [*INTEGERS, *FLOATS], ids=str)
def test_a_weight_of_its_parts_is_the_weight(element: DType) -> None:
    x = StoredArray.of(random(6, 10))
    whole = Applied.of(ops.round_to_nearest, (x,), {"to": element, "group": 4, "search": "mse"})
    assert isinstance(whole.type, QuantizedType)
    names = ["codes", "scales"] + ([] if whole.type.symmetric else ["zero_points"])
    parts = tuple(Applied.of(getattr(ops, f"quantized_{name}"), (whole,), {}) for name in names)
    again = Applied.of(ops.quantized, parts, {"group": 4})
    assert again.type == whole.type
    a, b = (Applied.of(ops.dequantize, (e,), {}).evaluate() for e in (whole, again))
    assert torch.equal(a, b)


def test_activations_are_rounded_by_the_largest_of_each_group() -> None:
    x = random(2, 3, 8)
    rounded = evaluate(ops.fake_quantize, x, to=DType.I8, group=4)
    for row, expected in zip(x.reshape(-1, 4).double(), rounded.reshape(-1, 4), strict=True):
        scale = row.abs().max() / 127
        torch.testing.assert_close((row / scale).round() * scale, expected.double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("to", [DType.I8, DType.F8E4M3], ids=str)
def test_activations_with_a_given_scale_are_cut_off_at_its_end(to: DType) -> None:
    x, scale = random(3, 8), torch.tensor(1 / 128)
    rounded = evaluate(ops.fake_quantize, x, scale, to=to)
    grid = Grid(to)
    assert torch.equal(rounded, grid.nearest(x * 128) / 128)
    assert grid.least / 128 <= rounded.min()
    assert rounded.max() <= grid.most / 128


@pytest.mark.parametrize("scale", [3e-9, 1e6])
def test_scales_outside_their_type_are_the_nearest_that_it_holds(scale: float) -> None:
    x = random(2, 8) * scale
    half = quantize(x, of(DType.I8, (2, 8), None, scale_dtype=DType.F16), "mse")
    assert (half.scales > 0).all()
    assert torch.isfinite(half.scales).all()
    assert torch.isfinite(half.dequantize(torch.float32)).all()


def test_rounding_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, type = random(9, 20), of(DType.U3, (9, 20), 8)
    whole = quantize(x, type, "mse")
    monkeypatch.setattr(rounding, "AT_ONCE", 45)
    pieces = quantize(x, type, "mse")
    for a, b in zip(_parts(whole), _parts(pieces), strict=True):
        assert torch.equal(a, b)
    across = quantize(x.T.contiguous(), of(DType.U3, (20, 9), 8, axis=0), "mse")
    for a, b in zip(_parts(whole), _parts(across), strict=True):
        assert torch.equal(a, b.T)


def _parts(q: QuantizedTensor) -> list[torch.Tensor]:
    return [q.codes, q.scales, *([] if q.zero_points is None else [q.zero_points])]


@pytest.mark.parametrize(
    ("operands", "attributes", "problem"),
    [
        (("i4[2, 8]", "f32[2, 3]"), {"group": 4}, r"scales are f32\[2, 3\], expected f32\[2, 2\]"),
        (("u4[2, 8]", "f32[2, 2]"), {"group": 4}, "codes of u4 without zero points or minimums"),
        (
            ("i4[2, 8]", "f32[2, 2]", "i4[2, 2]"),
            {"group": 4},
            r"zero_points are i4\[2, 2\], expected none in q4<g4, sym>",
        ),
        (
            ("u4[2, 8]", "f16[2, 2]", "u4[2, 2]", None, "f16[2, 2]"),
            {"group": 4},
            "expected none in q4<g4, min, scale=f16>",
        ),
        (("i4[2, 8]", "f32[2, 2]", None, None, "f32[2, 2]"), {"group": 4}, "codes of i4 have no minimum"),
        (("u4[2, 8]", "f16[2, 2]", None, None, "f32[2, 2]"), {"group": 4}, r"minimums are f32\[2, 2\], expected f16"),
        (("u4[2, 8]", "f32[2, 2]", None, "f32[]", "f32[2, 2]"), {"group": 4}, "do not go together"),
        (("f32[2, 8]", "f32[2, 2]"), {"group": 4}, "there are no codes of f32"),
        (("i4[2, 8]", "i8[2, 2]"), {"group": 4}, "there are no scales of i8"),
        (("i4[2, S]", "f32[2, 2]"), {"group": 4}, "has no fixed length"),
        (("i4[2, 8]", "f32[2, 2]"), {"group": -4}, "a group of -4"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    operands: tuple[str | None, ...], attributes: dict[str, int], problem: str
) -> None:
    from graphwright.ir.text import parse_type

    with pytest.raises(IRTypeError, match=problem):
        ops.quantized.infer(
            [None if o is None else parse_type(o) for o in (*operands, None, None, None)[:5]],
            ops.quantized.complete(attributes),
        )


def test_a_search_works_on_one_thread_and_gives_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its many small operations are slow on several threads beside other work; its caller's are not our matter."""
    threads: list[int] = []
    fit = rounding.fit

    def watched(
        groups: torch.Tensor, type: QuantizedType, search: Search, tensor_scale: torch.Tensor | None
    ) -> rounding.Scales:
        threads.append(torch.get_num_threads())
        return fit(groups, type, search, tensor_scale)

    monkeypatch.setattr(rounding, "fit", watched)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        quantize(random(4, 64), of(DType.I4, (4, 64), 32), "mse")
        assert (threads, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
