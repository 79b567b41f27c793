"""Mixtures of experts: captured as one op, found out by what they compute, refused where that is something else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphwright.frontend import capture
from graphwright.ir import DType, Interpreter, UnsupportedError
from tests.frontend.compare import assert_round_trip, assert_same_function, operators
from tests.frontend.zoo import MIXTURES, OTHER_MIXTURES, captured, tiny
from tests.marks import full
from tests.tensors import manual_seed


@pytest.mark.parametrize("name", MIXTURES)
def test_mixture(name: str) -> None:
    model, program = tiny(name), captured(name)
    assert "moe_experts" in operators(program)
    assert_same_function(program, model)
    assert_round_trip(program)


OFTEN = ("granitemoe", "hunyuan_v1_moe", "minimax_m2")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name if name in OFTEN else full(name) for name in OTHER_MIXTURES])
def test_other_mixture(name: str) -> None:
    model, program = tiny(name), captured(name)
    assert "moe_experts" in operators(program)
    assert_same_function(program, model)


def test_every_default_implementation_is_replaced() -> None:
    model = tiny("mixtral")
    eager = operators(captured("mixtral"))
    model.set_experts_implementation("grouped_mm")
    assert operators(capture(model)) == eager
    assert model.config._experts_implementation == "grouped_mm"


def test_bfloat16() -> None:
    # Twice the same function: roundoff in a router makes another choice, and no bound holds across that.
    model = tiny("mixtral").to(torch.bfloat16)
    program = capture(model)
    (experts,) = [op for op in program.graphs["forward"] if op.name == "moe_experts"]
    assert experts.result.tensor.dtype is DType.BF16
    assert {str(v.type).split("[")[0] for v in experts.inputs} >= {"bf16", "i64"}
    ids = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(0))
    got = Interpreter("float64").run(program.graphs["forward"], {"input_ids": ids})["logits"]
    with torch.no_grad():
        exact = copy.deepcopy(model).double()(ids).logits
    assert float((got - exact).abs().max()) <= 1e-4 * float(exact.abs().max())


def test_layouts_become_one_form_lazily() -> None:
    program = captured("gpt_oss")
    (experts, _) = [op for op in program.graphs["forward"] if op.name == "moe_experts"]
    weights = {n: experts.required(n) for n in ("gate_up", "down", "gate_up_bias", "down_bias")}
    assert all(v.weight is not None for v in weights.values())
    assert {n: str(v.type) for n, v in weights.items()} == {
        "gate_up": "f32[4, 256, 64]",
        "down": "f32[4, 64, 128]",
        "gate_up_bias": "f32[4, 256]",
        "down_bias": "f32[4, 64]",
    }
    attributes = {n: experts.attributes[n] for n in ("kind", "gated", "alpha", "limit", "up_offset")}
    assert attributes == {"kind": "silu", "gated": True, "alpha": 1.702, "limit": 7.0, "up_offset": 1.0}


# -- what is refused


def changed(change: Callable[[Any], None]) -> Any:
    model = tiny("mixtral")
    # The eager implementation has its gate written out.
    model.set_experts_implementation("batched_mm")
    for layer in model.model.layers:
        change(layer.mlp.experts)
    return model


def gate(function: Callable[[Any, Tensor], Tensor]) -> Callable[[Any], None]:
    def change(experts: Any) -> None:
        experts._apply_gate = function.__get__(experts)

    return change


def _set(name: str, value: Any) -> Callable[[Any], None]:
    return lambda experts: setattr(experts, name, value)


REFUSED: dict[str, tuple[Callable[[Any], None], str]] = {
    "gate": (
        gate(lambda self, h: torch.sin(h.chunk(2, -1)[0]) * h.chunk(2, -1)[1]),
        "its gate is none that moe_experts has",
    ),
    "gate that is nearly silu": (
        gate(lambda self, h: F.silu(h.chunk(2, -1)[0] * 1.001) * h.chunk(2, -1)[1]),
        "its gate is none that moe_experts has",
    ),
    "clamp on one side": (
        gate(lambda self, h: F.silu(h.chunk(2, -1)[0]) * h.chunk(2, -1)[1].clamp(max=3)),
        "its gate is none that moe_experts has",
    ),
    "gate that mixes": (
        gate(lambda self, h: F.silu(h.chunk(2, -1)[0]).cumsum(-1) * h.chunk(2, -1)[1]),
        "its gate is none that moe_experts has",
    ),
    "gate with parameters": (
        gate(lambda self, h: F.silu(h.chunk(2, -1)[0]) * h.chunk(2, -1)[1] + 0 * self.down_proj.sum()),
        "its gate is none that moe_experts has",
    ),
    "gate that fails": (
        gate(lambda self, h: cast(Any, h).no_such_method()),
        "its gate cannot be evaluated: .*no_such_method",
    ),
    "interleaved in secret": (_set("is_concatenated", False), "its gate contradicts is_concatenated"),
    "norm": (_set("has_post_expert_norm", True), "a norm after each expert is not in moe_experts"),
    "parallel": (_set("_is_expert_parallel", True), "its experts are spread over devices"),
    "bias": (_set("has_bias", True), "its parameters are down_proj, gate_up_proj, expected .*gate_up_proj_bias"),
    "scale": (_set("scale", nn.Parameter(torch.ones(4))), "its parameters are .*scale, expected"),
    "buffer": (lambda e: e.register_buffer("scale", torch.ones(4)), "buffer 'scale' is not in moe_experts"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    change, message = REFUSED[name]
    with pytest.raises(
        UnsupportedError, match=rf"MixtralExperts at model\.layers\.0\.mlp\.experts: {message}"
    ) as failure:
        capture(changed(change))
    assert "\n" not in str(failure.value)


def swish(gate: Tensor, up: Tensor) -> Tensor:
    return gate * torch.sigmoid(1.3 * gate) * (up + 0.5)


ACCEPTED: dict[str, tuple[Callable[[Any], None], dict[str, Any]]] = {
    "in float32": (
        gate(lambda self, h: (F.silu(h.chunk(2, -1)[0].float()) * h.chunk(2, -1)[1].float()).to(h.dtype)),
        {"kind": "silu", "alpha": 1.0},
    ),
    "gelu": (gate(lambda self, h: F.gelu(h.chunk(2, -1)[0]) * h.chunk(2, -1)[1]), {"kind": "gelu"}),
    "clamped": (
        gate(lambda self, h: F.silu(h.chunk(2, -1)[0].clamp(max=1.5)) * h.chunk(2, -1)[1].clamp(-1.5, 1.5)),
        {"kind": "silu", "limit": 1.5, "up_offset": 0.0},
    ),
    "alpha in float32": (
        gate(lambda self, h: swish(*h.float().chunk(2, -1)).to(h.dtype)),
        {"kind": "silu", "alpha": 1.3, "limit": float("inf"), "up_offset": 0.5},
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_gate_is_known_by_what_it_computes(name: str) -> None:
    change, attributes = ACCEPTED[name]
    model = changed(change)
    program = capture(model)
    for op in program.graphs["forward"]:
        if op.name == "moe_experts":
            assert {n: op.attributes[n] for n in attributes} == attributes
    assert_same_function(program, model)


# -- written by hand


class Dense(nn.Module):
    """Every expert on every token, weighted by a router that leaves most of them out."""

    def __init__(self, mix: Callable[[Any, Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        manual_seed(0)
        self.embed = nn.Embedding(256, 16)
        self.router = nn.Linear(16, 4, bias=False)
        self.experts = nn.ModuleList([nn.Sequential(nn.Linear(16, 24), nn.SiLU(), nn.Linear(24, 16)) for _ in range(4)])
        self.up = nn.Parameter(torch.randn(4, 16, 24))
        self.down = nn.Parameter(torch.randn(4, 24, 16))
        self.head = nn.Linear(16, 256)
        self.mix = mix

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        share, chosen = self.router(x).softmax(-1).topk(2, -1)
        return self.head(x + self.mix(self, x, share / share.sum(-1, keepdim=True), chosen))


def scattered(self: Any, x: Tensor, share: Tensor, chosen: Tensor) -> Tensor:
    full = torch.zeros(*x.shape[:-1], 4, dtype=x.dtype).scatter(-1, chosen, share)
    y = torch.zeros_like(x)
    for e, expert in enumerate(self.experts):
        y += full[..., e : e + 1] * expert(x)
    return y


def masked(self: Any, x: Tensor, share: Tensor, chosen: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    for e, expert in enumerate(self.experts):
        y = y + expert(x) * torch.where(chosen == e, share, 0.0).sum(-1, keepdim=True)
    return y


def batched(self: Any, x: Tensor, share: Tensor, chosen: Tensor) -> Tensor:
    flat = x.reshape(-1, 16)
    every = torch.bmm(F.silu(torch.bmm(flat.expand(4, -1, -1), self.up)), self.down)
    full = (F.one_hot(chosen, 4) * share[..., None]).sum(-2).reshape(-1, 4)
    return (every * full.T[..., None]).sum(0).reshape(x.shape)


def repeated(self: Any, x: Tensor, share: Tensor, chosen: Tensor) -> Tensor:
    flat = x.reshape(-1, 16)
    full = torch.zeros(flat.shape[0], 4, dtype=x.dtype).scatter_(1, chosen.reshape(-1, 2), share.reshape(-1, 2))
    every = (flat.repeat(4, 1) * full.transpose(0, 1).reshape(-1, 1)).view(4, -1, 16)
    return (F.silu(every @ self.up) @ self.down).reshape(4, -1, 16).sum(0).reshape(x.shape)


def gathered(self: Any, x: Tensor, share: Tensor, chosen: Tensor) -> Tensor:
    h = F.silu(x[:, :, None, None, :] @ self.up[chosen])
    return ((h @ self.down[chosen])[..., 0, :] * share[..., None]).sum(2)


@pytest.mark.parametrize("mix", [scattered, masked, batched, repeated, gathered], ids=lambda f: f.__name__)
def test_dense_mixtures_need_no_op_of_their_own(mix: Callable[..., Tensor]) -> None:
    model = Dense(mix).eval()
    program = capture(model)
    assert_same_function(program, model)
    assert_round_trip(program)


def selected(self: Any, x: Tensor, share: Tensor, chosen: Tensor) -> Tensor:
    flat, share, chosen = x.reshape(-1, 16), share.reshape(-1, 2), chosen.reshape(-1, 2)
    y = torch.zeros_like(flat)
    for e, expert in enumerate(self.experts):
        token, place = torch.where(chosen == e)
        y.index_add_(0, token, expert(flat[token]) * share[token, place, None])
    return y.reshape(x.shape)


def hit(self: Any, x: Tensor, share: Tensor, chosen: Tensor) -> Tensor:
    y = x * 0
    for e in cast(Any, chosen).unique():
        y = y + self.experts[int(e)](x) * torch.where(chosen == e, share, 0.0).sum(-1, keepdim=True)
    return y


@pytest.mark.parametrize("mix", [selected, hit], ids=lambda f: f.__name__)
def test_loops_over_what_the_data_chose_are_refused(mix: Callable[..., Tensor]) -> None:
    reason = r"depends on the data|[Dd]ata-dependent|branches on the values of a tensor"
    with pytest.raises(UnsupportedError, match=reason) as failure:
        capture(Dense(mix).eval())
    assert "\n" not in str(failure.value)
