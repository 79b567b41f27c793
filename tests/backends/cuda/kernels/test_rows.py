"""Norms, tables and the way into caches on a GPU, interpreted, against the references in float64."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import ops
from graphwright.ir.dialects.cuda.rotary import rotary_append, rotary_table
from graphwright.ir.types import DType
from tests.backends.cuda.kernels.test_attention import scale_shape
from tests.emulator.interpreter import interpret

ROTARY = "graphwright.backends.cuda.kernels.rotary"
ROWS = "graphwright.backends.cuda.kernels.rows"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rms_norm(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 44, generator=generator).to(dtype)
    gain = torch.randn(44, generator=generator).to(dtype)
    y = torch.full_like(x, float("nan"))
    interpret(f"{ROWS}:rms_norm", 5, x=x, gain=gain, y=y, K=44, EPSILON=1e-6, PADDED=64, PDL=False)
    want = ops.rms_norm.evaluate([x.double(), gain.double()], {"epsilon": 1e-6})
    assert ((y - want).abs() <= 2 * torch.finfo(dtype).eps * want.abs()).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(("gain", "bias"), [(True, True), (True, False), (False, False)])
def test_layer_norm(dtype: torch.dtype, gain: bool, bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(5, 44, generator=generator) + 3).to(dtype)
    weight = torch.randn(44, generator=generator).to(dtype) if gain else None
    shift = torch.randn(44, generator=generator).to(dtype) if bias else None
    y = torch.full_like(x, float("nan"))
    interpret(f"{ROWS}:layer_norm", 5, x=x, gain=weight, bias=shift, y=y, K=44, EPSILON=1e-6, PADDED=64, PDL=False)
    wide = [None if v is None else v.double() for v in (x, weight, shift)]
    want = ops.layer_norm.evaluate(wide, {"epsilon": 1e-6})
    # The mean is of sums of 44 terms near 3; the result is rounded once.
    assert ((y - want).abs() <= torch.finfo(dtype).eps * want.abs() + 64 * 2.0**-24 * 4).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_softmax(dtype: torch.dtype) -> None:
    x = (torch.randn(4, 21, generator=torch.Generator().manual_seed(0)) * 8).to(dtype)
    x[1, 3] = float("-inf")
    x[2] = float("-inf")
    x[3, 5] = float("nan")
    y = torch.full_like(x, 7)
    interpret(f"{ROWS}:softmax", 4, x=x, y=y, K=21, PADDED=32, PDL=False)
    want = ops.softmax.evaluate([x.double()], {"axis": -1})
    assert torch.equal(y.isnan(), want.isnan())
    # A power of a difference of up to 40 in float32, a sum of 21, and one rounding.
    bound = (torch.finfo(dtype).eps + 64 * 2.0**-24) * want.nan_to_num()
    assert ((y.double().nan_to_num() - want.nan_to_num()).abs() <= bound + 1e-37).all()


def test_rows_of_a_table_and_one_that_is_not_there() -> None:
    table = torch.randn(7, 20, generator=torch.Generator().manual_seed(0)).half()
    y = torch.zeros(4, 20, dtype=torch.float16)
    rows = torch.tensor([6, 0, 7, -1])
    interpret(f"{ROWS}:table_rows", 4, table=table, rows=rows, y=y, COUNT=7, K=20, PADDED=32, PDL=False)
    assert torch.equal(y[:2], table[[6, 0]])
    assert y[2:].isnan().all()


def test_chosen_tokens() -> None:
    x = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
    places = torch.tensor([[4, 0, 2], [1, 1, 3]])
    y = torch.zeros(2, 3, 12)
    interpret(f"{ROWS}:token_rows", 6, x=x, places=places, y=y, N=3, S=5, K=12, PADDED=16, PDL=False)
    assert torch.equal(y, ops.take_tokens.evaluate([x, places], {}))


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(("pairs", "table_rows"), [(4, 2), (3, 1), (0, 1)])
def test_rotary_append(interleaved: bool, pairs: int, table_rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    batch, tokens, heads, kv_heads, size, value_size, capacity = 2, 3, 4, 2, 8, 6, 9
    columns = heads * size + kv_heads * (size + value_size) + 5
    packed = torch.randn(batch, tokens, columns, generator=generator)
    caches = [torch.randn(batch, kv_heads, capacity, n, generator=generator) for n in (size, value_size)]
    past = torch.tensor([6, 2])
    positions = (past[:, None] if table_rows == 2 else torch.zeros(1, 1, dtype=torch.int64)) + torch.arange(tokens)
    frequencies = torch.tensor([1.0, 0.3, 0.1, 0.02])[:pairs]
    cos, sin = (torch.full((table_rows, tokens, pairs), float("nan")) for _ in range(2))
    if pairs:
        interpret(
            f"{ROTARY}:rotary_table", table_rows * tokens, positions=positions, frequencies=frequencies, cos=cos,
            sin=sin, SCALE=1.25, PAIRS=pairs, PADDED=4, PDL=False,
        )  # fmt: skip
        tables = rotary_table.evaluate([positions, frequencies.double()], {"scale": 1.25})
        assert max((a - b).abs().max() for a, b in zip((cos, sin), tables, strict=True)) <= 1e-6
    places = {"query": 0, "key": heads * size + 5, "value": heads * size + 5 + kv_heads * size}
    attributes = {"heads": heads, **places, "interleaved": interleaved}
    operands = [packed, *caches, past, None, *((cos, sin) if pairs else (None, None)), None, None]
    want = rotary_append.evaluate([None if x is None else x.clone() for x in operands], attributes)
    queries = torch.full((batch, heads, tokens, size), float("nan"))
    interpret(
        f"{ROTARY}:rotary_append", batch * tokens * (heads + 2 * kv_heads), packed=packed, key_cache=caches[0],
        value_cache=caches[1], past_length=past, cos=cos, sin=sin, key_scale=None, value_scale=None, queries=queries,
        S=tokens, C=capacity, KEY_SHARE=None, VALUE_SHARE=None, TABLE_ROWS=table_rows, COLUMNS=columns, HEADS=heads,
        KV_HEADS=kv_heads, SIZE=size, VALUE_SIZE=value_size, QUERY=places["query"], KEY=places["key"],
        VALUE=places["value"], PAIRS=pairs, INTERLEAVED=interleaved, PADDED=8, PDL=False,
    )  # fmt: skip
    for found, expected in zip((queries, *caches), want, strict=True):
        assert (found - expected).abs().max() <= 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("shares", [("channel", "token"), ("tensor", "channel"), ("channel", "tensor")])
def test_codes_that_are_appended_are_those_of_the_reference(shares: tuple[str, str], dtype: torch.dtype) -> None:
    """To the bit: numbers far out of range, a head of zeros and ties of halves too; one token is behind the caches."""
    generator = torch.Generator().manual_seed(0)
    batch, tokens, heads, kv_heads, size, value_size, capacity = 2, 3, 4, 2, 8, 6, 9
    columns = heads * size + kv_heads * (size + value_size)
    packed = torch.randn(batch, tokens, columns, generator=generator).to(dtype)
    packed[0, 0, heads * size :] *= 300
    packed[1, 1, -value_size:] = 0
    packed[1, 2, heads * size :: 2] = 0.109375  # 3.5 codes of 1 / 32
    past = torch.tensor([7, 2])
    caches = [torch.full((batch, kv_heads, capacity, n), 77, dtype=torch.int8) for n in (size, value_size)]
    exponents = [
        torch.randint(-6, -3, scale_shape(*each), generator=generator) for each in zip(caches, shares, strict=True)
    ]
    scales = [torch.exp2(each) for each in exponents]
    attributes = {"heads": heads, "query": 0, "key": heads * size, "value": heads * size + kv_heads * size}
    operands = [packed.float()[:, :2], *caches, past, None, None, None, *scales]
    first = rotary_append.evaluate(
        [None if x is None else x.clone() for x in operands], {**attributes, "interleaved": False}
    )
    # The last token of the other row, which has room for it.
    rest = [packed.float()[1:, 2:], *(x[1:] for x in first[1:3]), past[1:] + 2, None, None, None, scales[0]]
    rest.append(first[3][1:] if len(first) == 4 else scales[1])
    last = rotary_append.evaluate(rest, {**attributes, "interleaved": False})
    queries = torch.full((batch, heads, tokens, size), float("nan"), dtype=dtype)
    interpret(
        f"{ROTARY}:rotary_append", batch * tokens * (heads + 2 * kv_heads), packed=packed, key_cache=caches[0],
        value_cache=caches[1], past_length=past, cos=None, sin=None, key_scale=scales[0], value_scale=scales[1],
        queries=queries, S=tokens, C=capacity, TABLE_ROWS=1, COLUMNS=columns, HEADS=heads, KV_HEADS=kv_heads, SIZE=size,
        VALUE_SIZE=value_size, KEY_SHARE=shares[0], VALUE_SHARE=shares[1], QUERY=0, KEY=attributes["key"],
        VALUE=attributes["value"], PAIRS=0, INTERLEAVED=False, PADDED=8, PDL=False,
    )  # fmt: skip
    states = [*caches, scales[1]] if len(first) == 4 else caches
    for found, one, two in zip(states, first[1:], last[1:], strict=True):
        assert torch.equal(found, torch.cat([one[:1], two]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(("inner", "group"), [(44, 0), (44, 16), (96, 32), (90, 24)])
def test_rounded_groups_are_those_of_the_reference(inner: int, group: int, dtype: torch.dtype) -> None:
    """To the bit: groups of zeros, ties of halves, numbers far apart and ones that are no number too."""
    x = torch.randn(5, inner, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1e-3], [1], [300], [1], [1]])
    x[1, :16] = 0
    x[2, :16] = torch.arange(16) + 0.5
    x[2, 7] = 127
    x = x.to(dtype)
    x[4, 20] = float("nan")
    y = torch.full_like(x, 7)
    size = group or inner
    padded = {"GROUPS": 16, "PADDED": max(16, 1 << (size - 1).bit_length())}
    interpret(f"{ROWS}:round_groups", 5, x=x, y=y, K=inner, GROUP=size, **padded, PDL=False)
    want = ops.fake_quantize.evaluate([x.float()], {"to": DType.I8, "group": group}).to(dtype)
    assert torch.equal(y[:4], want[:4])
    assert bool(y[4, 20].isnan())
