"""Attention on a GPU, interpreted, against the references in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from graphwright.ir import DType
from graphwright.ir.dialects.cuda.attention import LOG2_E, combine_splits, fused_attention, split_attention
from graphwright.ir.ops import ring_positions
from tests.emulator.interpreter import interpret

KERNELS = "graphwright.backends.cuda.kernels.attention"
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
    mask: str = "causal"
    window: int = 0
    softcap: float = 0.0
    shares: tuple[str, str] | None = None
    """What the scales of keys and of values are for, where caches hold codes."""
    bias: tuple[str, torch.dtype | None] = ("", None)
    """The axes of "bhsk" that a bias has, and its type: None is that of the queries."""
    ring: bool = False
    """Whether all places but those of the queries' own keys, which are last, are a ring."""

    @property
    def attributes(self) -> dict[str, Any]:
        return {"scale": self.size**-0.5, "mask": self.mask, "window": self.window, "softcap": self.softcap}

    @property
    def constants(self) -> dict[str, Any]:
        """What all kernels are given beside tensors."""
        return {
            "S": self.tokens,
            "C": CAPACITY,
            "POSITION_ROWS": len(self.past),
            "HEADS": self.heads,
            "KV_HEADS": self.kv_heads,
            "SIZE": self.size,
            "VALUE_SIZE": self.value_size,
            "KEY_SHARE": self.shares and self.shares[0],
            "VALUE_SHARE": self.shares and self.shares[1],
            "BIAS_BATCH": int("b" in self.bias[0]),
            "BIAS_HEADS": int("h" in self.bias[0]),
            "BIAS_QUERIES": int("s" in self.bias[0]),
            "BIAS_KEYS": int("k" in self.bias[0]),
            "KEY_POSITION_ROWS": len(self.past),
            "SCALE": self.size**-0.5 * LOG2_E,
            "MASK": self.mask,
            "WINDOW": self.window,
            "SOFTCAP": self.softcap * LOG2_E,
            "BC": 16,
            "PADDED": 32,
            "VALUE_PADDED": 32,
            "PDL": False,
            "EMULATED": True,
        }

    def sample(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, torch.Tensor | None]:
        """Operands; what lies behind a row's length is NaN in caches of numbers and in scales of tokens."""
        batch = len(self.past)
        q = torch.randn(batch, self.heads, self.tokens, self.size, generator=generator).to(dtype)
        keys, values = (
            torch.randn(batch, self.kv_heads, CAPACITY, size, generator=generator).to(dtype)
            for size in (self.size, self.value_size)
        )
        past = torch.tensor(self.past)
        scales: list[torch.Tensor | None] = [None, None]
        if self.shares is not None:
            held = [keys, values]
            keys, values = (torch.randint(-128, 128, x.shape, generator=generator).to(torch.int8) for x in held)
            scales = [
                torch.rand(scale_shape(x, share), generator=generator) * 0.03 + 0.001
                for x, share in zip(held, self.shares, strict=True)
            ]
        coded = [s for s, share in zip(scales, self.shares or ("", ""), strict=True) if share == "token"]
        positions = past[:, None] + torch.arange(self.tokens)
        places: torch.Tensor | None = None
        if self.ring:
            ring = CAPACITY - self.tokens
            places = torch.cat([ring_positions.evaluate([past], {"capacity": ring}), positions], 1)
        for b, before in enumerate(self.past):
            for cache in (keys, values) if self.shares is None else coded:
                assert cache is not None
                if places is None:
                    cache[b, :, before + self.tokens :] = float("nan")
                else:
                    cache[b, :, places[b] < 0] = float("nan")
        axes, kind = self.bias
        whole = dict(zip("bhsk", (batch, self.heads, self.tokens, CAPACITY), strict=True))
        bias: torch.Tensor | None = None
        if axes:
            bias = torch.randn([n if axis in axes else 1 for axis, n in whole.items()], generator=generator)
            bias = bias > -1 if kind is torch.bool else bias.to(dtype)
        return {
            "q": q,
            "key_cache": keys,
            "value_cache": values,
            "positions": positions,
            "key_length": None if self.ring else past + self.tokens,
            "bias": bias,
            "key_positions": places,
            "key_scale": scales[0],
            "value_scale": scales[1],
        }


def scale_shape(cache: torch.Tensor, share: str) -> tuple[int, ...]:
    """Of a scale for all, for channels or for tokens of a cache [batch, heads, capacity, size]."""
    batch, heads, capacity, size = cache.shape
    return {"tensor": (), "channel": (1, heads, 1, size), "token": (batch, heads, capacity, 1)}[share]


CASES = [
    Case(4, 2, 1, 16, 16, (29,)),
    Case(4, 4, 1, 24, 8, (0, 17, 38)),
    Case(6, 2, 3, 16, 16, (5, 30), "sliding", 7),
    Case(2, 1, 2, 8, 8, (11, 3), "chunked", 8),
    Case(4, 1, 1, 32, 32, (20,), softcap=5.0),
    Case(6, 2, 1, 24, 16, (0, 33), shares=("channel", "token")),
    Case(4, 2, 2, 16, 24, (7, 30), shares=("tensor", "channel")),
    Case(4, 1, 1, 16, 16, (9,), shares=("token", "tensor")),
    Case(6, 2, 2, 16, 16, (0, 30), bias=("hk", None), softcap=5.0),
    Case(4, 2, 3, 16, 24, (9, 25), bias=("bsk", torch.bool)),
    Case(4, 2, 1, 16, 16, (9, 25), "full", bias=("bs", None)),
    Case(2, 2, 2, 16, 16, (3, 27), "prefix", 12),
    Case(4, 2, 2, 16, 16, (3, 100), "sliding", 9, ring=True),
    Case(6, 1, 1, 24, 16, (0, 57), "causal", ring=True, shares=("channel", "token")),
    Case(4, 4, 1, 16, 16, (90,), "chunked", 16, ring=True, bias=("k", None)),
]


def wide(given: dict[str, torch.Tensor | None]) -> list[torch.Tensor | None]:
    """The operands for the reference in float64, which is to see no NaN where nothing is to be seen."""

    def exact(name: str, x: torch.Tensor | None) -> torch.Tensor | None:
        if x is None or not x.is_floating_point():
            return x
        x = x.double()
        return x.nan_to_num(1e30) if name == "key_cache" else x.nan_to_num(0.0) if "scale" in name else x

    return [exact(name, x) for name, x in given.items()]


def whole_operands(operands: list[torch.Tensor | None], sinks: torch.Tensor | None) -> list[torch.Tensor | None]:
    """Those of `cuda.attention`, which has sinks too, of those of `cuda.split_attention`."""
    return [*operands[:6], sinks, *operands[6:]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sinks", [False, True])
def test_pieces_and_what_they_make_together(case: Case, dtype: torch.dtype, sinks: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    given, batch, splits = case.sample(generator, dtype), len(case.past), 3
    partial = torch.full((batch, case.heads, splits, case.tokens, case.value_size + 2), float("nan"))
    interpret(
        f"{KERNELS}:split_attention", batch * case.kv_heads * splits, **given, partial=partial, SPLITS=splits, ROWS=16,
        **case.constants,
    )  # fmt: skip
    want = split_attention.evaluate(wide(given), {"splits": splits, **case.attributes})
    tolerance = 2.0**-8 if dtype is torch.float16 else 2.0**-20
    assert torch.equal(partial[..., -2].isinf(), want[..., -2].isinf())
    finite = ~want[..., -2].isinf()
    error = (partial - want)[finite].abs() / (1 + want[finite].abs())
    assert error.max() <= tolerance, error.max()
    sink = torch.randn(case.heads, generator=generator) if sinks else None
    y = torch.full((batch, case.tokens, case.heads * case.value_size), float("nan"), dtype=dtype)
    interpret(
        f"{KERNELS}:combine_splits", batch * case.tokens * case.heads, partial=partial, sinks=sink, y=y, S=case.tokens,
        HEADS=case.heads, VALUE_SIZE=case.value_size, SPLITS=splits, PADDED_SPLITS=4, VALUE_PADDED=32, PDL=False,
    )  # fmt: skip
    exact_sink = None if sink is None else sink.double()
    combined = combine_splits.evaluate([want, exact_sink], {"dtype": DType.F64})
    whole = fused_attention.evaluate(
        whole_operands(wide(given), exact_sink), {**case.attributes, "merged": True, "ring": 0}
    )
    assert (combined - whole).abs().max() <= 1e-12
    assert (y - whole).abs().max() <= tolerance


@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_whole(case: Case, sinks: bool) -> None:
    case = replace(case, tokens=21, past=case.past if case.ring else tuple(min(before, 19) for before in case.past))
    given = case.sample(torch.Generator().manual_seed(0), torch.float32)
    y = torch.full((len(case.past), case.tokens, case.heads * case.value_size), float("nan"))
    sink = torch.randn(case.heads, generator=torch.Generator().manual_seed(1)) if sinks else None
    ring = CAPACITY - case.tokens if case.ring else 0
    interpret(
        f"{KERNELS}:attention", len(case.past) * case.heads * 2, **given, sinks=sink, y=y, BS=16, RING=ring,
        **case.constants,
    )  # fmt: skip
    whole = fused_attention.evaluate(
        whole_operands(wide(given), None if sink is None else sink.double()),
        {**case.attributes, "merged": True, "ring": 0},
    )
    assert (y - whole).abs().max() <= 2.0**-20
