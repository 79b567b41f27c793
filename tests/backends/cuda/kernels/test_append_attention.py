"""Attention that appends to its caches, interpreted, against the reference in float64."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from graphwright.ir.dialects.cuda.append_attention import append_attention
from graphwright.ir.dialects.cuda.attention import LOG2_E, split_attention
from graphwright.ir.dialects.cuda.rotary import rotary_append
from tests.backends.cuda.kernels.test_attention import scale_shape
from tests.emulator.interpreter import interpret

KERNEL = "graphwright.backends.cuda.kernels.append_attention:append_attention"
CAPACITY = 40


@dataclass(frozen=True)
class Case:
    heads: int
    kv_heads: int
    tokens: int
    size: int
    value_size: int
    past: tuple[int, ...]
    """Tokens in the caches of each row."""
    new: tuple[int, ...]
    """Tokens of each row that are there; what is behind them is appended and not seen."""
    pairs: int
    interleaved: bool = False
    mask: str = "causal"
    window: int = 0
    shares: tuple[str, str] | None = None
    """What the scales of keys and of values are for, where caches hold codes."""


CASES = [
    Case(4, 2, 1, 16, 16, (29,), (1,), 8),
    Case(4, 4, 1, 24, 8, (0, 17, 39), (1, 1, 1), 6),
    Case(6, 2, 3, 16, 16, (5, 30), (3, 2), 8, mask="sliding", window=7),
    Case(2, 1, 5, 8, 8, (11, 35), (5, 5), 4, interleaved=True),
    Case(4, 1, 1, 32, 32, (20,), (1,), 0),
]
CODED = [
    Case(6, 2, 3, 16, 24, (5, 36), (3, 2), 0, shares=("channel", "token")),
    Case(4, 4, 1, 24, 8, (0, 39), (1, 1), 6, shares=("tensor", "channel")),
]


class Sample:
    """Operands of a case; what lies behind a row's length is NaN in caches of numbers and in scales of tokens."""

    def __init__(self, case: Case, dtype: torch.dtype) -> None:
        generator = torch.Generator().manual_seed(0)
        self.case, self.splits, self.scale = case, 3, case.size**-0.5
        batch, sizes = len(case.past), (case.size, case.value_size)
        query, key = 3, 3 + case.heads * case.size
        value = key + case.kv_heads * case.size
        self.columns = value + case.kv_heads * case.value_size + 2
        self.places = {"query": query, "key": key, "value": value}
        self.packed = torch.randn(batch, case.tokens, self.columns, generator=generator).to(dtype)
        caches = [torch.randn(batch, case.kv_heads, CAPACITY, size, generator=generator).to(dtype) for size in sizes]
        self.scales: list[torch.Tensor | None] = [None, None]
        filled = list(caches)
        if case.shares is not None:
            self.scales = [
                torch.rand(scale_shape(x, share), generator=generator) * 0.02 + 0.005
                for x, share in zip(caches, case.shares, strict=True)
            ]
            caches = [torch.randint(-128, 128, x.shape, generator=generator).to(torch.int8) for x in caches]
            filled = [
                s for s, share in zip(self.scales, case.shares, strict=True) if share == "token" and s is not None
            ]
        self.caches = caches
        self.past = torch.tensor(case.past)
        for b, before in enumerate(case.past):
            for cache in filled:
                cache[b, :, before:] = float("nan")
        self.positions = self.past[:, None] + torch.arange(case.tokens)
        self.length = self.past + torch.tensor(case.new)
        angle = torch.rand(batch, case.tokens, case.pairs, generator=generator)
        self.tables = [angle.cos(), angle.sin()] if case.pairs else [None, None]
        self.seen = {
            "splits": self.splits,
            "scale": self.scale,
            "mask": case.mask,
            "window": case.window,
            "softcap": 0.0,
        }

    def partial(self) -> torch.Tensor:
        """What the kernel makes; it changes the caches."""
        case, batch = self.case, len(self.case.past)
        partial = torch.full((batch, case.heads, self.splits, case.tokens, case.value_size + 2), float("nan"))
        shares = case.shares or (None, None)
        interpret(
            KERNEL, batch * case.kv_heads * self.splits, packed=self.packed, key_cache=self.caches[0],
            value_cache=self.caches[1], past_length=self.past, positions=self.positions, key_length=self.length,
            cos=self.tables[0], sin=self.tables[1], key_scale=self.scales[0], value_scale=self.scales[1],
            partial=partial, S=case.tokens, C=CAPACITY, POSITION_ROWS=batch, TABLE_ROWS=0, COLUMNS=self.columns,
            HEADS=case.heads, KV_HEADS=case.kv_heads, SIZE=case.size, VALUE_SIZE=case.value_size, KEY_SHARE=shares[0],
            VALUE_SHARE=shares[1], QUERY=self.places["query"], KEY=self.places["key"], VALUE=self.places["value"],
            PAIRS=case.pairs, INTERLEAVED=case.interleaved, SPLITS=self.splits, SCALE=self.scale * LOG2_E,
            MASK=case.mask, WINDOW=case.window, SOFTCAP=0.0, ROWS=16, BC=16, NEW=16, PADDED=32, VALUE_PADDED=32,
            PDL=False, EMULATED=True,
        )  # fmt: skip
        return partial

    def appending(self) -> dict[str, object]:
        """The attributes of `cuda.rotary_append`."""
        return {"heads": self.case.heads, **self.places, "interleaved": self.case.interleaved}


def check_pieces(partial: torch.Tensor, want: torch.Tensor, tolerance: float) -> None:
    empty = want[..., -2].isinf()
    assert torch.equal(partial[..., -2].isinf(), empty)
    assert not partial[..., -1][empty].any()
    error = (partial - want)[~empty].abs() / (1 + want[~empty].abs())
    assert error.max() <= tolerance


def in_float64(x: torch.Tensor | None) -> torch.Tensor | None:
    return x.double() if x is not None and x.is_floating_point() else x


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("case", CASES)
def test_pieces_and_caches(case: Case, dtype: torch.dtype) -> None:
    it = Sample(case, dtype)
    operands = [it.packed, *it.caches, it.past, it.positions, it.length, *it.tables, None, None]
    want, *appended = append_attention.evaluate(map(in_float64, operands), it.appending() | it.seen)
    partial = it.partial()
    tolerance = 2.0**-8 if dtype is torch.float16 else 2.0**-20
    for cache, expected in zip(it.caches, appended, strict=True):
        assert torch.equal(cache.isnan(), expected.isnan())
        assert ((cache - expected).nan_to_num(0.0).abs() <= tolerance * (1 + expected.nan_to_num(0.0).abs())).all()
    check_pieces(partial, want, tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("case", CODED)
def test_codes_are_those_of_the_reference_and_are_what_is_attended_to(case: Case, dtype: torch.dtype) -> None:
    it = Sample(case, dtype)
    given = [it.packed.float(), *it.caches, it.past, None, *it.tables, *it.scales]
    copied = [None if x is None else x.clone() for x in given]
    queries, *states = rotary_append.evaluate(copied, it.appending())
    partial = it.partial()
    # What is turned is rounded to the type of the row, which may be another code.
    most = 1 if case.pairs and dtype is torch.float16 else 0
    for cache, expected in zip(it.caches, states, strict=False):
        assert (cache.int() - expected.int()).abs().max() <= most
    fitted = it.scales[1]
    if len(states) == 3:
        assert fitted is not None
        assert torch.equal(fitted.nan_to_num(-1.0), states[2].nan_to_num(-1.0))
    scales = [None if x is None else x.nan_to_num(0.0) for x in it.scales]
    operands = [queries, *it.caches, it.positions, it.length, None, None, *scales]
    want = split_attention.evaluate(map(in_float64, operands), it.seen)
    check_pieces(partial, want, 2.0**-8 if dtype is torch.float16 else 2.0**-19)
