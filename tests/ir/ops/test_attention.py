"""Attention against torch's own with an explicit mask, rotary embedding against a complex rotation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphwright.ir import IRTypeError, ops
from graphwright.ir.text import parse_type
from tests.ir.evaluation import evaluate
from tests.tensors import Tolerance, listed, manual_seed

B, HEADS, KV_HEADS, S, KEYS, SIZE, VALUE_SIZE = 3, 4, 2, 5, 9, 8, 6
manual_seed(0)
Q = torch.randn(B, HEADS, S, SIZE, dtype=torch.float64)
K = torch.randn(B, KV_HEADS, KEYS, SIZE, dtype=torch.float64)
V = torch.randn(B, KV_HEADS, KEYS, VALUE_SIZE, dtype=torch.float64)
SCALE = 0.4
PAST = torch.tensor([4, 0, 2])
POSITIONS = PAST[:, None] + torch.arange(S)
TIGHT = Tolerance(rtol=1e-12, atol=1e-13)


def sees(mask: str, window: int, query: int, key: int) -> bool:
    """The masks as the docstring of attention states them, one pair at a time."""
    return {
        "full": True,
        "causal": key <= query,
        "sliding": query - window < key <= query,
        "chunked": key <= query and key // max(window, 1) == query // max(window, 1),
        "prefix": key <= query or key < window,
    }[mask]


def explicit(mask: str, window: int, positions: Tensor, lengths: Tensor | None = None) -> Tensor:
    """bool [batch, 1, sequence, keys]."""
    return torch.tensor(
        [
            [
                [sees(mask, window, int(p), key) and (lengths is None or key < int(lengths[b])) for key in range(KEYS)]
                for p in row
            ]
            for b, row in enumerate(positions)
        ]
    )[:, None]


MASKS = [("full", 0), ("causal", 0), ("sliding", 3), ("sliding", 1), ("chunked", 4), ("prefix", 3)]


@pytest.mark.parametrize(("mask", "window"), MASKS)
def test_masks_with_grouped_heads_and_positions_of_each_row(mask: str, window: int) -> None:
    wanted = F.scaled_dot_product_attention(
        Q, K, V, attn_mask=explicit(mask, window, POSITIONS), scale=SCALE, enable_gqa=True
    )
    found = evaluate(ops.attention, Q, K, V, POSITIONS, scale=SCALE, mask=mask, window=window)
    torch.testing.assert_close(found, wanted, **TIGHT)


@pytest.mark.parametrize(("mask", "window"), MASKS)
def test_positions_shared_by_all_rows(mask: str, window: int) -> None:
    shared = torch.arange(2, 2 + S)[None]
    found = evaluate(ops.attention, Q, K, V, shared, scale=SCALE, mask=mask, window=window)
    alone = evaluate(ops.attention, Q, K, V, shared.repeat(B, 1), scale=SCALE, mask=mask, window=window)
    assert torch.equal(found, alone)


@pytest.mark.parametrize(("mask", "window"), MASKS)
def test_keys_past_the_length_are_absent_whatever_they_hold(mask: str, window: int) -> None:
    lengths = PAST + S
    k, v = K.clone(), V.clone()
    for row, length in enumerate(listed(lengths)):
        k[row, :, length:] = float("nan")
        v[row, :, length:] = float("inf")
    wanted = F.scaled_dot_product_attention(
        Q, K, V, attn_mask=explicit(mask, window, POSITIONS, lengths), scale=SCALE, enable_gqa=True
    )
    found = evaluate(ops.attention, Q, k, v, POSITIONS, lengths, state=(1, 2), scale=SCALE, mask=mask, window=window)
    torch.testing.assert_close(found, wanted, **TIGHT)


@pytest.mark.parametrize("shape", [(B, HEADS, S, KEYS), (1, HEADS, 1, KEYS), (S, KEYS), (B, 1, 1, 1)])
def test_bias_is_added_to_the_scores(shape: tuple[int, ...]) -> None:
    bias = torch.randn(shape, dtype=torch.float64)
    hidden = torch.zeros(B, 1, S, KEYS, dtype=torch.float64).masked_fill(~explicit("causal", 0, POSITIONS), -math.inf)
    wanted = F.scaled_dot_product_attention(Q, K, V, attn_mask=bias + hidden, scale=SCALE, enable_gqa=True)
    found = evaluate(ops.attention, Q, K, V, POSITIONS, None, bias, scale=SCALE, mask="causal")
    torch.testing.assert_close(found, wanted, **TIGHT)


def test_a_bool_bias_hides_keys() -> None:
    visible = torch.rand(B, 1, S, KEYS) < 0.6
    visible[..., 0] = True
    wanted = F.scaled_dot_product_attention(
        Q, K, V, attn_mask=visible & explicit("causal", 0, POSITIONS), scale=SCALE, enable_gqa=True
    )
    found = evaluate(ops.attention, Q, K, V, POSITIONS, None, visible, scale=SCALE, mask="causal")
    torch.testing.assert_close(found, wanted, **TIGHT)


def scores() -> Tensor:
    return torch.einsum("bhsd,bhkd->bhsk", Q, K[:, [0, 0, 1, 1]]) * SCALE


def test_softcap_bends_the_scaled_scores_before_the_mask() -> None:
    bent = (2.0 * torch.tanh(scores() / 2.0)).masked_fill(~explicit("causal", 0, POSITIONS), -math.inf)
    wanted = torch.einsum("bhsk,bhkd->bhsd", bent.softmax(-1), V[:, [0, 0, 1, 1]])
    found = evaluate(ops.attention, Q, K, V, POSITIONS, scale=SCALE, mask="causal", softcap=2.0)
    torch.testing.assert_close(found, wanted, **TIGHT)


def test_a_sink_takes_weight_and_gives_nothing() -> None:
    sinks = torch.tensor([0.0, 1.0, -50.0, 3.0], dtype=torch.float64)
    weights = scores().exp().masked_fill(~explicit("causal", 0, POSITIONS), 0.0)
    wanted = torch.einsum(
        "bhsk,bhkd->bhsd", weights / (weights.sum(-1, keepdim=True) + sinks.exp()[:, None, None]), V[:, [0, 0, 1, 1]]
    )
    found = evaluate(ops.attention, Q, K, V, POSITIONS, None, None, sinks, scale=SCALE, mask="causal")
    torch.testing.assert_close(found, wanted, **TIGHT)


def test_a_query_that_sees_no_key_gives_zeros() -> None:
    lengths = torch.tensor([0, KEYS, KEYS])
    found = evaluate(ops.attention, Q, K, V, POSITIONS, lengths, scale=SCALE, mask="full")
    assert not found[0].any()
    assert found[1:].isfinite().all()
    nothing = torch.full((S, KEYS), -math.inf, dtype=torch.float64)
    assert not evaluate(ops.attention, Q, K, V, POSITIONS, None, nothing, scale=SCALE, mask="full").any()


@pytest.mark.parametrize("poisoned", ["q", "k", "v"])
def test_a_value_that_is_no_number_is_not_hidden(poisoned: str) -> None:
    q, k, v = Q.clone(), K.clone(), V.clone()
    {"q": q, "k": k, "v": v}[poisoned][1, 0, 3] = float("nan")
    found = evaluate(ops.attention, q, k, v, POSITIONS, scale=SCALE, mask="causal")
    # Row 1 starts at position 0: its query 3 is the first that reads the poisoned key, or is poisoned itself.
    assert found[1, 0, 3].isnan().all()
    assert found[[0, 2]].isfinite().all()
    assert found[1, :, :3].isfinite().all()


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("pairs", [SIZE // 2, 3])
@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_rope_turns_complex_numbers(interleaved: bool, pairs: int, scale: float) -> None:
    frequencies = torch.tensor([1.0, 0.31, 0.05, 0.002])[:pairs]
    found = evaluate(ops.rope, Q, POSITIONS, frequencies, interleaved=interleaved, scale=scale)
    for b in range(B):
        for s in range(S):
            for i in range(pairs):
                first, second = (2 * i, 2 * i + 1) if interleaved else (i, i + pairs)
                turn = scale * torch.exp(1j * int(POSITIONS[b, s]) * frequencies[i].double())
                wanted = torch.complex(Q[b, :, s, first], Q[b, :, s, second]) * turn
                got = torch.complex(found[b, :, s, first], found[b, :, s, second])
                torch.testing.assert_close(got, wanted, **TIGHT)
    assert torch.equal(found[..., 2 * pairs :], Q[..., 2 * pairs :])


def test_rope_with_shared_positions() -> None:
    frequencies = torch.tensor([1.0, 0.1])
    shared = torch.arange(S)[None]
    found = evaluate(ops.rope, Q, shared, frequencies, interleaved=False)
    assert torch.equal(found, evaluate(ops.rope, Q, shared.repeat(B, 1), frequencies, interleaved=False))


@pytest.mark.parametrize(("mask", "window"), MASKS)
def test_keys_stand_where_their_positions_say(mask: str, window: int) -> None:
    """Keys in another order, each with its position, give what they give in order; negative ones are absent."""
    lengths = PAST + S
    order = torch.stack([torch.randperm(KEYS) for _ in range(B)])
    places = torch.where(order < lengths[:, None], order, order - 2 * KEYS)
    index = order[:, None, :, None]
    k, v = (x.gather(2, index.expand(-1, KV_HEADS, -1, x.shape[3])) for x in (K, V))
    v = v.masked_fill((places < 0)[:, None, :, None], float("nan"))
    wanted = evaluate(ops.attention, Q, K, V, POSITIONS, lengths, scale=SCALE, mask=mask, window=window)
    found = evaluate(ops.attention, Q, k, v, POSITIONS, None, None, None, places, scale=SCALE, mask=mask, window=window)
    torch.testing.assert_close(found, wanted, **TIGHT)


ATTENTION = ["f32[B, 4, S, 8]", "f32[B, 2, P, 8]", "f32[B, 2, P, 8]", "i64[B, S]", None, None, None, None]


@pytest.mark.parametrize(
    ("index", "type", "attributes", "problem"),
    [
        (0, "i64[B, 4, S, 8]", {}, "q must be floating point"),
        (0, "f32[4, S, 8]", {}, "q must have 4 axes"),
        (1, "f32[B, 3, P, 8]", {}, "heads of k and of v: 3 and 2 differ"),
        (1, "f32[B, 2, P, 4]", {}, "head size of q and of k: 8 and 4 differ"),
        (1, "f16[B, 2, P, 8]", {}, "element types differ: f32 and f16"),
        (2, "f32[1, 2, P, 8]", {}, "batch of k and of v: B and 1 differ"),
        (0, "f32[B, 3, S, 8]", {}, "3 query heads do not divide over 2 key heads"),
        (3, "i32[B, S]", {}, "positions must be i64"),
        (3, "i64[B, P]", {}, "length of positions and of the sequence: P and S differ"),
        (3, "i64[P, S]", {}, "has another batch than B"),
        (4, "i64[B, 1]", {}, "key_length must have 1 axes"),
        (4, "f32[B]", {}, "key_length must be i64"),
        (4, "i64[P]", {}, "batch of q and key_length: B and P differ"),
        (5, "f32[S, S]", {}, "do not broadcast"),
        (5, "f32[1, B, 4, S, P]", {}, "does not broadcast to the scores"),
        (5, "f16[S, P]", {}, "element types differ"),
        (6, "f32[2]", {}, "sinks and query heads: 2 and 4 differ"),
        (7, "i64[B, S]", {}, "length of key_positions and of the sequence: S and P differ"),
        (7, "i32[B, P]", {}, "key_positions must be i64"),
        (None, None, {"mask": "sliding"}, "mask 'sliding' with a window of 0"),
        (None, None, {"window": 3}, "mask 'causal' with a window of 3"),
    ],
)
def test_operands_that_do_not_fit(
    index: int | None, type: str | None, attributes: dict[str, Any], problem: str
) -> None:
    texts = list(ATTENTION)
    if index is not None:
        texts[index] = type
    types = [None if text is None else parse_type(text) for text in texts]
    complete = ops.attention.complete({"scale": 1.0, "mask": "causal", **attributes})
    with pytest.raises(IRTypeError, match=problem):
        ops.attention.infer(types, complete)


def test_key_positions_and_key_length_exclude_each_other() -> None:
    types = [None if t is None else parse_type(t) for t in (*ATTENTION[:4], "i64[B]", None, None, "i64[B, P]")]
    with pytest.raises(IRTypeError, match="key_length cannot be given too"):
        ops.attention.infer(types, ops.attention.complete({"scale": 1.0, "mask": "causal"}))
