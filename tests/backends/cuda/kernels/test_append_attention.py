"""Attention that appends to its caches, interpreted, against the reference in float64."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from graphwright.ir.dialects.cuda.append_attention import append_attention
from graphwright.ir.dialects.cuda.attention import LOG2_E
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


CASES = [
    Case(4, 2, 1, 16, 16, (29,), (1,), 8),
    Case(4, 4, 1, 24, 8, (0, 17, 39), (1, 1, 1), 6),
    Case(6, 2, 3, 16, 16, (5, 30), (3, 2), 8, mask="sliding", window=7),
    Case(2, 1, 5, 8, 8, (11, 35), (5, 5), 4, interleaved=True),
    Case(4, 1, 1, 32, 32, (20,), (1,), 0),
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("case", CASES)
def test_pieces_and_caches(case: Case, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    batch, sizes = len(case.past), (case.size, case.value_size)
    query, key = 3, 3 + case.heads * case.size
    value = key + case.kv_heads * case.size
    columns = value + case.kv_heads * case.value_size + 2
    packed = torch.randn(batch, case.tokens, columns, generator=generator).to(dtype)
    caches = [torch.randn(batch, case.kv_heads, CAPACITY, size, generator=generator).to(dtype) for size in sizes]
    past = torch.tensor(case.past)
    for b, before in enumerate(case.past):
        for cache in caches:
            cache[b, :, before:] = float("nan")
    positions, length = past[:, None] + torch.arange(case.tokens), past + torch.tensor(case.new)
    angle = torch.rand(batch, case.tokens, case.pairs, generator=generator)
    tables = [angle.cos(), angle.sin()] if case.pairs else [None, None]
    splits, scale = 3, case.size**-0.5
    attributes = {
        "heads": case.heads,
        "query": query,
        "key": key,
        "value": value,
        "interleaved": case.interleaved,
        "splits": splits,
        "scale": scale,
        "mask": case.mask,
        "window": case.window,
        "softcap": 0.0,
    }
    wide = [x.double() for x in (packed, *caches)]
    turned = [None if table is None else table.double() for table in tables]
    want, *appended = append_attention.evaluate([*wide, past, positions, length, *turned], attributes)
    partial = torch.full((batch, case.heads, splits, case.tokens, case.value_size + 2), float("nan"))
    interpret(
        KERNEL, batch * case.kv_heads * splits, packed=packed, key_cache=caches[0], value_cache=caches[1],
        past_length=past, positions=positions, key_length=length, cos=tables[0], sin=tables[1], partial=partial,
        S=case.tokens, C=CAPACITY, POSITION_ROWS=batch, TABLE_ROWS=0, COLUMNS=columns, HEADS=case.heads,
        KV_HEADS=case.kv_heads, SIZE=case.size, VALUE_SIZE=case.value_size, QUERY=query, KEY=key, VALUE=value,
        PAIRS=case.pairs, INTERLEAVED=case.interleaved, SPLITS=splits, SCALE=scale * LOG2_E, MASK=case.mask,
        WINDOW=case.window, SOFTCAP=0.0, ROWS=16, BC=16, NEW=16, PADDED=32, VALUE_PADDED=32, PDL=False, EMULATED=True,
    )  # fmt: skip
    tolerance = 2.0**-8 if dtype is torch.float16 else 2.0**-20
    for cache, expected in zip(caches, appended, strict=True):
        assert torch.equal(cache.isnan(), expected.isnan())
        assert ((cache - expected).nan_to_num(0.0).abs() <= tolerance * (1 + expected.nan_to_num(0.0).abs())).all()
    empty = want[..., -2].isinf()
    assert torch.equal(partial[..., -2].isinf(), empty)
    assert not partial[..., -1][empty].any()
    error = (partial - want)[~empty].abs() / (1 + want[~empty].abs())
    assert error.max() <= tolerance
