"""Ops with a state: each against its formula written out, in one go and in pieces, and what they refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from graphwright.ir import IRTypeError, ops
from graphwright.ir.declare import OpDef
from graphwright.ir.text import parse_type
from tests.tensors import Tolerance, listed, manual_seed

B, S, HEADS, GROUPS, KEYS, VALUES = 2, 7, 4, 2, 3, 5
TIGHT = Tolerance(rtol=1e-12, atol=1e-12)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed() -> None:
    manual_seed(0)


# -- formulas


def test_causal_conv_is_a_padded_convolution() -> None:
    x, weight, bias = random(B, 4, S), random(6, 2, 3), random(6)
    y, last = ops.causal_conv.evaluate([x, weight, bias, None, None], {"groups": 2, "dilation": 2})
    torch.testing.assert_close(y, F.conv1d(F.pad(x, (4, 0)), weight, bias, dilation=2, groups=2), **TIGHT)
    assert torch.equal(last, x[:, :, -4:])


def test_running_sum_is_a_cumulative_sum() -> None:
    x = random(B, 3, S, 2)
    y, last = ops.running_sum.evaluate([x, None, None], {"axis": 2})
    torch.testing.assert_close(y, x.cumsum(2), **TIGHT)
    torch.testing.assert_close(last, x.sum(2), **TIGHT)


def _weights(decay: Tensor) -> Tensor:
    """exp(decay_(j+1) + … + decay_i) from token j to a later token i, [B, H, S, S, keys]."""
    total = decay.cumsum(2)
    between = total[:, :, :, None] - total[:, :, None]
    return between.exp() * torch.tril(torch.ones(S, S, dtype=torch.float64))[..., None]


@pytest.mark.parametrize("per_key", [False, True])
@pytest.mark.parametrize("rated", [False, True])
def test_linear_recurrence_is_attention_with_decaying_weights(per_key: bool, rated: bool) -> None:
    q, k, v = random(B, GROUPS, S, KEYS), random(B, GROUPS, S, KEYS), random(B, HEADS, S, VALUES)
    decay = -random(B, HEADS, S, KEYS if per_key else 1).abs()
    rates = random(HEADS, KEYS).abs() if rated else None
    y, last = ops.linear_recurrence.evaluate([q, k, v, decay, rates, None, None, None], {})
    q, k = (x.repeat_interleave(HEADS // GROUPS, 1) for x in (q, k))
    logarithm = (decay * (1 if rates is None else rates[:, None])).expand(B, HEADS, S, KEYS)
    weights = _weights(logarithm)
    torch.testing.assert_close(y, torch.einsum("bhik,bhijk,bhjk,bhjv->bhiv", q, weights, k, v), **TIGHT)
    torch.testing.assert_close(last, torch.einsum("bhjk,bhjk,bhjv->bhkv", weights[:, :, -1], k, v), **TIGHT)


def test_the_delta_rule_overwrites_what_a_key_held() -> None:
    """With orthogonal keys, no decay and beta one, a query of a key gives the last value written to it."""
    k = torch.eye(KEYS, dtype=torch.float64)[[0, 1, 0, 2, 1, 1, 0]].expand(1, 1, S, KEYS)
    v, beta = random(1, 1, S, VALUES), torch.ones(1, 1, S, dtype=torch.float64)
    y, last = ops.linear_recurrence.evaluate([k, k, v, None, None, beta, None, None], {})
    torch.testing.assert_close(y, v, **TIGHT)
    torch.testing.assert_close(last[0, 0], v[0, 0, [6, 5, 3]], **TIGHT)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_weighted_mean_is_a_softmax_over_the_past(scale: float) -> None:
    key, value, decay, bonus = scale * random(B, S, 4), random(B, S, 4), -random(4).abs(), random(4)
    y, _ = ops.weighted_mean.evaluate([key, value, decay, bonus, None, None], {})
    i, j = torch.arange(S)[:, None, None], torch.arange(S)[None, :, None]
    exponents = torch.where(j == i, key[:, None] + bonus, key[:, None] + (i - 1 - j) * decay)
    weights = exponents.masked_fill(j > i, float("-inf")).softmax(2)
    torch.testing.assert_close(y, (weights * value[:, None]).sum(2), rtol=1e-10, atol=1e-10)


# -- the protocol

ATTENTION = (
    random(B, GROUPS, S, KEYS),
    random(B, GROUPS, S, KEYS),
    random(B, HEADS, S, VALUES),
    -random(B, HEADS, S, 1).abs(),
    random(HEADS, KEYS).abs(),
    torch.rand(B, HEADS, S, dtype=torch.float64),
)
PROTOCOL: list[tuple[OpDef, Sequence[Tensor | None], dict[str, Any], dict[int, int], int]] = [
    (ops.causal_conv, (random(B, 4, S), random(4, 1, 3), random(4)), {"groups": 4, "dilation": 1}, {0: 2}, 2),
    (ops.causal_conv, (random(B, 4, S), random(4, 4, 4), None), {"groups": 1, "dilation": 2}, {0: 2}, 2),
    (ops.running_sum, (random(B, S, 3),), {"axis": 1}, {0: 1}, 1),
    (ops.linear_recurrence, ATTENTION, {}, {0: 2, 1: 2, 2: 2, 3: 2, 5: 2}, 2),
    (ops.linear_recurrence, (*ATTENTION[:3], None, None, None), {}, {0: 2, 1: 2, 2: 2}, 2),
    (ops.weighted_mean, (random(B, S, 4), random(B, S, 4), -random(4).abs(), random(4)), {}, {0: 1, 1: 1}, 1),
]


@pytest.mark.parametrize(("op", "operands", "attributes", "over", "axis"), PROTOCOL)
def test_going_on_from_a_state_over_padding_equals_one_go(
    op: OpDef, operands: Sequence[Tensor | None], attributes: dict[str, Any], over: dict[int, int], axis: int
) -> None:
    whole, last = op.evaluate([*operands, None, None], attributes)
    state = torch.zeros_like(last)
    done = torch.zeros(B, dtype=torch.int64)
    for width, real in ((3, [3, 1]), (1, [1, 1]), (4, [0, 3]), (3, [3, 2])):
        counts = torch.tensor(real)
        parts: list[Tensor | None] = []
        for i, value in enumerate(operands):
            if value is None or i not in over:
                parts.append(value)
                continue
            places = (done[:, None] + torch.arange(width)).clamp(max=S - 1)
            rows = [value[b].index_select(over[i] - 1, places[b]) for b in range(B)]
            parts.append(torch.stack(rows))
        y, state = op.evaluate([*parts, state, counts], attributes)
        for b in range(B):
            wanted = whole[b].narrow(axis - 1, int(done[b]), real[b])
            torch.testing.assert_close(y[b].narrow(axis - 1, 0, real[b]), wanted, **TIGHT)
        done = done + counts
    assert listed(done) == [S, S]
    torch.testing.assert_close(state, last, **TIGHT)


# -- refusals

Q, V = "f32[B, 2, S, 3]", "f32[B, 4, S, 5]"
REFUSED: list[tuple[OpDef, tuple[str | None, ...], dict[str, Any], str]] = [
    (ops.causal_conv, ("f32[B, 4, S]", "f32[4, 1, 1]"), {"groups": 4}, "with a width of 2 or more"),
    (ops.causal_conv, ("f32[B, S]", "f32[4, 1, 3]"), {"groups": 4}, "x must have 3 axes"),
    (ops.causal_conv, ("f32[B, 4, S]", "f32[4, 1, 3]"), {"groups": 2}, "channels of x and of weight times groups"),
    (
        ops.causal_conv,
        ("f32[B, 4, S]", "f32[4, 1, 3]", None, "state<recurrent f32[B, 4, 3]>"),
        {"groups": 4},
        r"the state is .* expected state<recurrent f32\[B, 4, 2\]>",
    ),
    (
        ops.causal_conv,
        ("f32[B, 4, S]", "f32[4, 1, 3]", None, "state<contiguous f32[B, 4, 2]>"),
        {"groups": 4},
        "expected state<recurrent",
    ),
    (ops.running_sum, ("f32[B, S]",), {"axis": 0}, "the first axis is the batch"),
    (ops.running_sum, ("bool[B, S]",), {"axis": 1}, "x must hold numbers"),
    (ops.running_sum, ("f32[B, S]", None, "i64[S]"), {"axis": 1}, "batch of new_length"),
    (ops.linear_recurrence, (Q, "f32[B, 2, S, 4]", V), {}, "q is .* and k"),
    (ops.linear_recurrence, ("f32[B, 3, S, 3]", "f32[B, 3, S, 3]", V), {}, "4 heads do not divide over 3 groups"),
    (ops.linear_recurrence, (Q, Q, V, "f32[B, 2, S, 1]"), {}, "decay is"),
    (ops.linear_recurrence, (Q, Q, V, "f32[B, 4, S, 2]"), {}, "decay is"),
    (ops.linear_recurrence, (Q, Q, V, None, "f32[4, 3]"), {}, "rates are .* beside a decay"),
    (ops.linear_recurrence, (Q, Q, V, "f32[B, 4, S, 1]", "f32[4, 2]"), {}, "rates are"),
    (ops.linear_recurrence, (Q, Q, V, None, None, "f32[B, 4, 1]"), {}, "beta is"),
    (ops.linear_recurrence, (Q, Q, "f16[B, 4, S, 5]"), {}, "element types differ"),
    (ops.weighted_mean, ("f32[B, S, 4]", "f32[B, S, 3]", "f32[4]", "f32[4]"), {}, "key is .* and value"),
    (ops.weighted_mean, ("f32[B, S, 4]", "f32[B, S, 4]", "f32[3]", "f32[4]"), {}, "decay is"),
]


@pytest.mark.parametrize(("op", "operands", "attributes", "problem"), REFUSED)
def test_refused(op: OpDef, operands: tuple[str | None, ...], attributes: dict[str, Any], problem: str) -> None:
    types = op.pad([None if o is None else parse_type(o) for o in operands])
    with pytest.raises(IRTypeError, match=problem):
        op.infer(types, op.complete(attributes))
