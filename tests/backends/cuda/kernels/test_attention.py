"""Attention on a GPU, interpreted, against the references in float64."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import DType
from graphwright.ir.dialects.cuda.attention import LOG2_E, combine_splits, fused_attention, split_attention
from tests.emulator.interpreter import interpret

KERNELS = "graphwright.backends.cuda.kernels.attention"
CAPACITY = 40

# batch, heads, kv heads, tokens, size, value size, past of each row, mask, window, softcap
CASES = [
    (1, 4, 2, 1, 16, 16, (29,), "causal", 0, 0.0),
    (3, 4, 4, 1, 24, 8, (0, 17, 38), "causal", 0, 0.0),
    (2, 6, 2, 3, 16, 16, (5, 30), "sliding", 7, 0.0),
    (2, 2, 1, 2, 8, 8, (11, 3), "chunked", 8, 0.0),
    (1, 4, 1, 1, 32, 32, (20,), "causal", 0, 5.0),
]


def caches(case: tuple[object, ...], generator: torch.Generator, dtype: torch.dtype) -> list[torch.Tensor]:
    """Keys and values; what lies behind a row's length is NaN."""
    batch, _, kv_heads, tokens, size, value_size, past, *_ = case
    made = [torch.randn(batch, kv_heads, CAPACITY, n, generator=generator).to(dtype) for n in (size, value_size)]  # type: ignore[call-overload]
    for b, before in enumerate(past):  # type: ignore[arg-type]
        for cache in made:
            cache[b, :, before + tokens :] = float("nan")
    return made


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sinks", [False, True])
def test_pieces_and_what_they_make_together(case, dtype, sinks) -> None:
    batch, heads, kv_heads, tokens, size, value_size, past, mask, window, softcap = case
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(batch, heads, tokens, size, generator=generator).to(dtype)
    keys, values = caches(case, generator, dtype)
    positions = torch.tensor(past)[:, None] + torch.arange(tokens)
    length = torch.tensor(past) + tokens
    splits, scale = 3, size**-0.5
    partial = torch.full((batch, heads, splits, tokens, value_size + 2), float("nan"))
    interpret(
        f"{KERNELS}:split_attention", batch * kv_heads * splits, q=q, key_cache=keys, value_cache=values,
        positions=positions, key_length=length, partial=partial, S=tokens, C=CAPACITY, POSITION_ROWS=batch, HEADS=heads,
        KV_HEADS=kv_heads, SIZE=size, VALUE_SIZE=value_size, SPLITS=splits, SCALE=scale * LOG2_E, MASK=mask,
        WINDOW=window, SOFTCAP=softcap * LOG2_E, ROWS=16, BC=16, PADDED=32, VALUE_PADDED=32, PDL=False, EMULATED=True,
    )  # fmt: skip
    attributes = {"scale": scale, "mask": mask, "window": window, "softcap": softcap}
    operands = [x.double() for x in (q, keys.nan_to_num(1e30), values)]
    want = split_attention.evaluate([*operands, positions, length], {"splits": splits, **attributes})
    tolerance = 2.0**-8 if dtype is torch.float16 else 2.0**-20
    assert torch.equal(partial[..., -2].isinf(), want[..., -2].isinf())
    finite = ~want[..., -2].isinf()
    error = (partial - want)[finite].abs() / (1 + want[finite].abs())
    assert error.max() <= tolerance, error.max()
    sink = torch.randn(heads, generator=generator) if sinks else None
    y = torch.full((batch, tokens, heads * value_size), float("nan"), dtype=dtype)
    interpret(
        f"{KERNELS}:combine_splits", batch * tokens * heads, partial=partial, sinks=sink, y=y, S=tokens, HEADS=heads,
        VALUE_SIZE=value_size, SPLITS=splits, PADDED_SPLITS=4, VALUE_PADDED=32, PDL=False,
    )  # fmt: skip
    combined = combine_splits.evaluate([want, None if sink is None else sink.double()], {"dtype": DType.F64})
    whole = fused_attention.evaluate(
        [*operands, positions, length, None, None if sink is None else sink.double(), None, None, None],
        {**attributes, "merged": True, "ring": 0},
    )
    assert (combined - whole).abs().max() <= 1e-12
    assert (y - whole).abs().max() <= tolerance


@pytest.mark.parametrize("case", CASES)
def test_whole(case) -> None:
    batch, heads, kv_heads, tokens, size, value_size, past, mask, window, softcap = case
    tokens, past = 21, tuple(min(before, 19) for before in past)
    case = (batch, heads, kv_heads, tokens, size, value_size, past, mask, window, softcap)
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(batch, heads, tokens, size, generator=generator)
    keys, values = caches(case, generator, torch.float32)
    positions = torch.tensor(past)[:, None] + torch.arange(tokens)
    length = torch.tensor(past) + tokens
    y = torch.full((batch, tokens, heads * value_size), float("nan"))
    interpret(
        f"{KERNELS}:attention", batch * heads * 2, q=q, key_cache=keys, value_cache=values, positions=positions,
        key_length=length, y=y, S=tokens, C=CAPACITY, POSITION_ROWS=batch, HEADS=heads, KV_HEADS=kv_heads, SIZE=size,
        VALUE_SIZE=value_size, SCALE=size**-0.5 * LOG2_E, MASK=mask, WINDOW=window, SOFTCAP=softcap * LOG2_E, BS=16,
        BC=16, PADDED=32, VALUE_PADDED=32, PDL=False, EMULATED=True,
    )  # fmt: skip
    whole = fused_attention.evaluate(
        [q.double(), keys.double().nan_to_num(1e30), values.double(), positions, length, None, None, None, None, None],
        {"scale": size**-0.5, "mask": mask, "window": window, "softcap": softcap, "merged": True, "ring": 0},
    )
    assert (y - whole).abs().max() <= 2.0**-20
