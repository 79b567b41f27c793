"""Attention on a GPU, interpreted, against the references in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from graphwright.ir import DType
from graphwright.ir.dialects.cuda.attention import LOG2_E, combine_splits, fused_attention, split_attention
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

    def sample(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Operands; what lies in the caches behind a row's length is NaN."""
        batch = len(self.past)
        q = torch.randn(batch, self.heads, self.tokens, self.size, generator=generator).to(dtype)
        keys, values = (
            torch.randn(batch, self.kv_heads, CAPACITY, size, generator=generator).to(dtype)
            for size in (self.size, self.value_size)
        )
        past = torch.tensor(self.past)
        for b, before in enumerate(self.past):
            for cache in (keys, values):
                cache[b, :, before + self.tokens :] = float("nan")
        positions = past[:, None] + torch.arange(self.tokens)
        return {
            "q": q,
            "key_cache": keys,
            "value_cache": values,
            "positions": positions,
            "key_length": past + self.tokens,
        }


CASES = [
    Case(4, 2, 1, 16, 16, (29,)),
    Case(4, 4, 1, 24, 8, (0, 17, 38)),
    Case(6, 2, 3, 16, 16, (5, 30), "sliding", 7),
    Case(2, 1, 2, 8, 8, (11, 3), "chunked", 8),
    Case(4, 1, 1, 32, 32, (20,), softcap=5.0),
]


def wide(given: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """The operands for the reference in float64, which is to see no NaN where nothing is to be seen."""
    q, keys, values, positions, length = given.values()
    return [q.double(), keys.double().nan_to_num(1e30), values.double(), positions, length]


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
        [*wide(given), None, exact_sink, None, None, None], {**case.attributes, "merged": True, "ring": 0}
    )
    assert (combined - whole).abs().max() <= 1e-12
    assert (y - whole).abs().max() <= tolerance


@pytest.mark.parametrize("case", CASES)
def test_whole(case: Case) -> None:
    case = replace(case, tokens=21, past=tuple(min(before, 19) for before in case.past))
    given = case.sample(torch.Generator().manual_seed(0), torch.float32)
    y = torch.full((len(case.past), case.tokens, case.heads * case.value_size), float("nan"))
    interpret(f"{KERNELS}:attention", len(case.past) * case.heads * 2, **given, y=y, BS=16, **case.constants)
    whole = fused_attention.evaluate(
        [*wide(given), None, None, None, None, None], {**case.attributes, "merged": True, "ring": 0}
    )
    assert (y - whole).abs().max() <= 2.0**-20
