"""Mixture of experts and what its routers need, against the formulas of the papers written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from graphwright.ir import DType, IRTypeError, UserError, ops, tensor
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.text import parse_type
from graphwright.ir.torch_types import dtype_of
from tests.ir.evaluation import evaluate
from tests.tensors import Tolerance, listed

GENERATOR = torch.Generator().manual_seed(0)
ROUNDING: dict[str, Any] = {
    "group": 4, "scale": DType.F32, "axis": -1, "tensor_scale": False, "search": "absmax", "minimum": False
}  # fmt: skip
TIGHT = Tolerance(rtol=1e-12, atol=1e-13)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


X = normal(2, 3, 8)
CHOSEN = torch.randint(0, 4, (2, 3, 2), generator=GENERATOR)
SHARE = normal(2, 3, 2)
GATE_UP, DOWN = normal(4, 12, 8), normal(4, 8, 6)
GATE_UP_BIAS, DOWN_BIAS = normal(4, 12), normal(4, 8)


def test_each_token_goes_through_its_own_experts() -> None:
    got = evaluate(ops.moe_experts, X, CHOSEN, SHARE, GATE_UP, DOWN, kind="silu", gated=True)
    for b in range(2):
        for s in range(3):
            wanted = torch.zeros(8, dtype=torch.float64)
            for j in range(2):
                e = CHOSEN[b, s, j]
                gate, up = (GATE_UP[e] @ X[b, s]).chunk(2)
                wanted += SHARE[b, s, j] * (DOWN[e] @ (F.silu(gate) * up))
            torch.testing.assert_close(got[b, s], wanted, **TIGHT)


def test_gate_of_gpt_oss() -> None:
    weights = (X, CHOSEN, SHARE, GATE_UP, DOWN, GATE_UP_BIAS, DOWN_BIAS)
    got = evaluate(ops.moe_experts, *weights, kind="silu", gated=True, alpha=1.702, limit=0.7, up_offset=1.0)
    h = torch.einsum("bsh,bskoh->bsko", X, GATE_UP[CHOSEN]) + GATE_UP_BIAS[CHOSEN]
    gate, up = h.chunk(2, -1)
    gate, up = gate.clamp(max=0.7), up.clamp(-0.7, 0.7)
    inner = gate * torch.sigmoid(1.702 * gate) * (up + 1)
    y = torch.einsum("bskj,bskoj->bsko", inner, DOWN[CHOSEN]) + DOWN_BIAS[CHOSEN]
    torch.testing.assert_close(got, (y * SHARE[..., None]).sum(2), **TIGHT)


def test_without_a_gate_and_with_another_size_out() -> None:
    up, down = normal(4, 6, 8), normal(4, 5, 6)
    got = evaluate(ops.moe_experts, X[0], CHOSEN[0], SHARE[0], up, down, kind="relu", gated=False)
    inner = torch.einsum("sh,skih->ski", X[0], up[CHOSEN[0]]).relu()
    wanted = torch.einsum("ski,skoi,sk->so", inner, down[CHOSEN[0]], SHARE[0])
    torch.testing.assert_close(got, wanted, **TIGHT)


@pytest.mark.parametrize("to", [DType.I4, DType.U8])
def test_quantized_experts_stand_for_their_numbers(to: DType) -> None:
    stacks = [ops.round_to_nearest.evaluate([w], {**ROUNDING, "to": to}) for w in (GATE_UP, DOWN)]
    numbers = [stack.dequantize(torch.float64) for stack in stacks]
    attributes: dict[str, Any] = {**ops.moe_experts.complete({"kind": "silu", "gated": True})}
    got, wanted = (
        ops.moe_experts.evaluate([X, CHOSEN, SHARE, *weights, GATE_UP_BIAS, DOWN_BIAS], attributes)
        for weights in (stacks, numbers)
    )
    torch.testing.assert_close(got, wanted, rtol=0, atol=0)


def test_an_expert_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="experts 4 to 4 are chosen, there are 4"):
        evaluate(ops.moe_experts, X, CHOSEN * 0 + 4, SHARE, GATE_UP, DOWN, kind="silu", gated=True)


@pytest.mark.parametrize(
    ("changes", "attributes", "message"),
    [
        ({0: "f32[S, 7]"}, {}, "last axis of x and of gate_up: 7 and 8 differ"),
        ({1: "i64[S, 3]"}, {}, "are not those of the tokens"),
        ({1: "i64[B, 2]", 2: "f32[B, 2]"}, {}, "are not those of the tokens"),
        ({1: "i32[S, 2]"}, {}, "indices must be i64"),
        ({3: "f32[4, 11, 8]"}, {}, "does not fit down"),
        ({3: "f32[5, 12, 8]"}, {}, "experts of gate_up and of down: 5 and 4 differ"),
        ({3: "bf16[4, 12, 8]"}, {}, "element types differ"),
        ({3: "q4<g2, sym, axis=-2>[4, 12, 8]"}, {}, "must be grouped along its last axis"),
        ({4: "q4<g2, sym>[4, 8, 5]"}, {}, "does not fit down"),
        ({5: "f32[4, 6]"}, {}, "gate_up_bias is"),
        ({6: "f32[4, 12]"}, {}, "down_bias is"),
        ({}, {"kind": "relu", "alpha": 1.7}, "only silu has one"),
        ({}, {"limit": 0.0}, "the limit is 0.0"),
        ({3: "f32[4, 6, 8]"}, {"gated": False, "limit": 1.0}, "belong to a gate"),
    ],
)
def test_what_does_not_fit(changes: dict[int, str], attributes: dict[str, Any], message: str) -> None:
    types: list[str | None] = ["f32[S, 8]", "i64[S, 2]", "f32[S, 2]", "f32[4, 12, 8]", "f32[4, 8, 6]", None, None]
    for index, text in changes.items():
        types[index] = text
    given = [None if text is None else parse_type(text) for text in types]
    complete = ops.moe_experts.complete({"kind": "silu", "gated": True, **attributes})
    with pytest.raises(IRTypeError, match=message):
        ops.moe_experts.infer(given, complete)


def both(x: torch.Tensor, **attributes: Any) -> tuple[torch.Tensor, torch.Tensor]:
    complete = ops.topk.complete(attributes)
    types = ops.topk.infer([tensor(dtype_of(x), *x.shape)], complete)
    values, indices = apply_reference(ops.topk, [x], complete, types, {})
    return values, indices


def test_topk_is_in_order() -> None:
    values, indices = both(X, k=3, axis=-1)
    torch.testing.assert_close((values, indices), tuple(torch.topk(X, 3)))
    values, indices = both(X, k=2, axis=1, largest=False)
    torch.testing.assert_close((values, indices), tuple(torch.topk(X, 2, 1, largest=False)))


def test_of_equal_elements_topk_takes_the_first() -> None:
    x = torch.tensor([1.0, 3.0, 2.0, 3.0, 1.0])
    assert listed(both(x, k=4, axis=0)[1]) == [1, 3, 2, 0]
    assert listed(both(x, k=3, axis=0, largest=False)[1]) == [0, 4, 2]


def test_scatter_elements() -> None:
    index = torch.tensor([[0, 3], [2, 1]])
    updates = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    x = torch.full((2, 4), 10.0)
    assert listed(evaluate(ops.scatter_elements, x, index, updates, axis=1)) == [[1, 10, 10, 2], [10, 4, 3, 10]]
    twice = torch.tensor([[0, 0], [2, 1]])
    added = evaluate(ops.scatter_elements, x, twice, updates, axis=1, reduction="add")
    assert listed(added) == [[13, 10, 10, 10], [10, 14, 13, 10]]
