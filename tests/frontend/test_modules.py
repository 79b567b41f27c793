"""Modules written by hand, in the spellings that people use."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from graphwright.frontend import capture
from graphwright.ir import UnsupportedError, run
from tests.frontend.compare import Small, assert_round_trip, assert_same_function, operators, tokens
from tests.tensors import manual_seed, unflatten


class Attention(torch.nn.Module):
    """Masked attention with einsum over a triangle that is a buffer, updated in place."""

    mask: torch.Tensor

    def __init__(self, width: int, heads: int, longest: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = torch.nn.Linear(width, 3 * width)
        self.out = torch.nn.Linear(width, width, bias=False)
        self.register_buffer("mask", torch.tril(torch.ones(longest, longest)).view(1, 1, longest, longest))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.size()
        q, k, v = (t.unflatten(2, (self.heads, -1)) for t in self.qkv(x).chunk(3, dim=-1))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(width // self.heads)
        scores = scores.masked_fill(self.mask[:, :, :length, :length] == 0, float("-inf"))
        mixed = torch.einsum("bhqk,bkhd->bqhd", functional.softmax(scores, dim=-1), v)
        return self.out(mixed.reshape(batch, length, width))


class NanoGPT(torch.nn.Module):
    """The style of Karpathy's nanoGPT."""

    def __init__(self, longest: int = 32) -> None:
        super().__init__()
        manual_seed(0)
        self.tokens = torch.nn.Embedding(256, 32)
        self.positions = torch.nn.Embedding(longest, 32)
        self.norm = torch.nn.LayerNorm(32)
        self.attention = Attention(32, 4, longest)
        self.drop = torch.nn.Dropout(0.1)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 32))
        self.head = torch.nn.Linear(32, 256, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(0, ids.shape[1], dtype=torch.long, device=ids.device)
        x = self.drop(self.tokens(ids) + self.positions(positions))
        x += self.attention(self.norm(x))
        x = x + self.drop(self.mlp(x))
        return self.head(x)


def test_nano_gpt() -> None:
    model = NanoGPT().eval()
    program = capture(model)
    assert_same_function(program, model)
    assert_round_trip(program)
    assert program.metadata["context_length"] == 32
    assert program.metadata["architecture"] == "NanoGPT"
    assert [v.name for v in program.graphs["forward"].inputs] == ["input_ids"]
    assert "head.weight" not in program.weights
    assert {op.location for op in program.graphs["forward"]} >= {"attention", "attention.qkv", "mlp.0", "norm"}


def test_training_mode_is_captured_as_evaluation() -> None:
    model = NanoGPT().train()
    program = capture(model)
    assert model.training
    assert_same_function(program, model.eval())


def grouped_queries(m: Small, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Repeated keys, heads folded into the batch, baddbmm: the style of BLOOM."""
    batch, length, _ = x.shape
    q = x.view(batch, length, 4, 2).transpose(1, 2).reshape(batch * 4, length, 2)
    k = x[..., :4].view(batch, length, 2, 2).transpose(1, 2).repeat_interleave(2, dim=1).flatten(0, 1)
    slopes = 2.0 ** -torch.arange(1, 5).repeat(batch)[:, None, None]
    distance = torch.arange(length)[None, None, :] * slopes
    scores = torch.baddbmm(distance.to(x.dtype).expand(-1, length, -1), q, k.transpose(1, 2), beta=0.5, alpha=0.25)
    hidden = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
    probabilities = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(-1)
    return torch.bmm(probabilities, k).view(batch, 4, length, 2).permute(0, 2, 1, 3).reshape(batch, length, 8)


def interleaved_rotary(m: Small, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    angles = torch.outer(torch.arange(x.shape[1], dtype=torch.float32), 10000 ** -(torch.arange(0, 8, 2) / 8))
    even, odd = x[..., ::2], x[..., 1::2]
    turned = (even * angles.cos() - odd * angles.sin(), even * angles.sin() + odd * angles.cos())
    return torch.stack(turned, -1).flatten(-2)


def torch_attention(m: Small, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    q = unflatten(x, -1, (4, 2)).transpose(1, 2)
    k = unflatten(x[..., :4], -1, (2, 2)).transpose(1, 2)
    out = functional.scaled_dot_product_attention(q, k, k, is_causal=True, enable_gqa=True, scale=0.7)
    return out.transpose(1, 2).flatten(2)


def three_axes_attention(m: Small, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    bias = m.lower[: x.shape[1], : x.shape[1]].log()
    return functional.scaled_dot_product_attention(x, x, x, attn_mask=bias)


def assigned_slices(m: Small, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(x)
    out[:, :, :3] = x[:, :, 5:]
    out[..., -1] = 2.0
    out[:, 0] += 1
    return out


def tied_head(m: Small, x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    return x @ m.embed.weight.T


Function = Callable[[Small, torch.Tensor, torch.Tensor], torch.Tensor]
FUNCTIONS: list[Function] = [
    grouped_queries,
    interleaved_rotary,
    torch_attention,
    three_axes_attention,
    assigned_slices,
    tied_head,
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_hand_written(function: Function) -> None:
    model = Small(function).eval()
    program = capture(model)
    assert_same_function(program, model)
    assert_round_trip(program)


def test_a_tied_head_is_a_linear_over_the_embedding() -> None:
    program = capture(Small(tied_head))
    assert operators(program) == ["embedding", "linear"]
    assert list(program.weights) == ["embed.weight"]


def test_torch_attention_keeps_its_meaning() -> None:
    (op,) = [op for op in capture(Small(torch_attention)).graphs["forward"] if op.name == "attention"]
    assert op.attributes["mask"] == "causal"
    assert op.attributes["scale"] == 0.7
    assert str(op.required("positions").type) == "i64[1, S]"


class Encoder(torch.nn.Module):
    """torch's own layer, whose fused fast path tracing must not take."""

    def __init__(self) -> None:
        super().__init__()
        manual_seed(0)
        self.embed = torch.nn.Embedding(256, 16)
        self.layer = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = torch.nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        return self.layer(self.embed(ids), src_mask=mask, is_causal=True)


def test_torch_transformer_layer() -> None:
    model = Encoder().eval()
    program = capture(model)
    assert_same_function(program, model)
    (attention,) = [op for op in program.graphs["forward"] if op.name == "attention"]
    assert attention.attributes["mask"] == "causal"


class TwoInputs(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        manual_seed(0)
        self.left = torch.nn.Linear(6, 4)

    def forward(self, image: torch.Tensor, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.left(image)
        return {"hidden": hidden, "scaled": hidden * scale[:, None]}


def test_other_inputs_take_their_names_from_forward() -> None:
    model = TwoInputs()
    program = capture(model, (torch.randn(1, 6), torch.randn(1)))
    graph = program.graphs["forward"]
    assert {v.name: str(v.type) for v in graph.inputs} == {"image": "f32[B, 6]", "scale": "f32[B]"}
    assert {n: str(v.type) for n, v in graph.outputs.items()} == {"hidden": "f32[B, 4]", "scaled": "f32[B, 4]"}
    image, scale = torch.randn(5, 6), torch.randn(5)
    got = run(graph, {"image": image, "scale": scale})
    wanted = model(image, scale)
    assert all(torch.allclose(got[n], wanted[n], rtol=1e-6, atol=1e-6) for n in wanted)


class Masked(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(256, 4)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, None, torch.Tensor]:
        x = self.embed(input_ids) * attention_mask[..., None]
        return x, None, x.sum(1)


def test_a_mask_beside_the_token_ids_has_their_axes() -> None:
    model = Masked()
    example = torch.ones(2, 5, dtype=torch.int64)
    graph = capture(model, (example, example)).graphs["forward"]
    assert {v.name: str(v.type) for v in graph.inputs} == {"input_ids": "i64[B, S]", "attention_mask": "i64[B, S]"}
    ids, mask = torch.randint(0, 256, (3, 9)), torch.randint(0, 2, (3, 9))
    got = run(graph, {"input_ids": ids, "attention_mask": mask})
    assert list(got) == ["output.0", "output.2"]
    assert torch.equal(got["output.0"], model(ids, mask)[0])


def test_module_to_dtype_converts_buffers_too() -> None:
    program = capture(Small(three_axes_attention), dtype=torch.float16)
    assert str(program.weights["lower"].type) == "f16[64, 64]"
    assert str(program.graphs["forward"].outputs["logits"].type) == "f16[B, S, 8]"


def test_a_short_example_keeps_the_trace_short() -> None:
    model = NanoGPT(longest=6).eval()
    program = capture(model, torch.zeros(1, 5, dtype=torch.int64))
    assert program.metadata["context_length"] == 6
    assert_same_function(program, model, shapes=((1, 1), (2, 5), (4, 6)))


class Branching(torch.nn.Module):
    """Logits out of a table, and another sign where a condition on the length holds."""

    def __init__(self, condition: Callable[[int], bool]) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(256, 8)
        self.condition = condition

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids) if self.condition(ids.shape[1]) else -self.table(ids)


def test_a_branch_that_no_short_sequence_takes_bounds_the_length() -> None:
    model = Branching(lambda length: max(0, length - 40) == 0)
    program = capture(model, tokens(2, 5))
    assert program.metadata["context_length"] == 40
    assert_same_function(program, model, shapes=((1, 1), (3, 40)))


def test_a_branch_that_is_no_bound_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="branches on a size"):
        capture(Branching(lambda length: length % 2 == 0), tokens(2, 5))
