"""Decoders as people write them: no cache, each with another spelling of the same ideas."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY, WIDTH, HEADS, SIZE, LONGEST = 100, 32, 4, 8, 64


class Decoder(nn.Module):
    """Token embedding, four blocks, a head; subclasses give the block."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList([self.block() for _ in range(4)])
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def block(self) -> nn.Module:
        raise NotImplementedError

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def heads(x: Tensor, count: int = HEADS) -> Tensor:
    return x.view(x.shape[0], x.shape[1], count, -1).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


class TrilBuffer(nn.Module):
    """A buffer of ones cut to length, masked_fill, fused projections, dropout that does nothing."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.ln = nn.LayerNorm(WIDTH)
        self.drop = nn.Dropout(0.1)
        self.register_buffer("mask", torch.tril(torch.ones(LONGEST, LONGEST)).view(1, 1, LONGEST, LONGEST))

    def forward(self, x: Tensor) -> Tensor:
        length = x.size(1)
        q, k, v = (heads(y) for y in self.attn(self.ln(x)).split(WIDTH, dim=2))
        scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        scores = scores.masked_fill(self.mask[:, :, :length, :length] == 0, float("-inf"))
        return x + self.drop(self.proj(joined(self.drop(F.softmax(scores, dim=-1)) @ v)))


class NanoGPT(Decoder):
    """Learned positions and GELU around TrilBuffer."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(LONGEST, WIDTH)
        self.fc = nn.Linear(WIDTH, 4 * WIDTH)
        self.out = nn.Linear(4 * WIDTH, WIDTH)
        self.head.weight = self.embed.weight

    def block(self) -> nn.Module:
        return TrilBuffer()

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.places(torch.arange(0, ids.size(1), dtype=torch.long))
        for block in self.blocks:
            x = block(x)
        return self.head(x + self.out(F.gelu(self.fc(x))))


class EinsumBlock(nn.Module):
    """einsum throughout, torch.where with -1e9, division by the root of the head size."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Parameter(torch.randn(WIDTH, HEADS, SIZE) * 0.3) for _ in range(3))
        self.o = nn.Parameter(torch.randn(HEADS, SIZE, WIDTH) * 0.3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (torch.einsum("bsc,chd->bshd", x, w) for w in (self.q, self.k, self.v))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / SIZE**0.5
        length = x.shape[1]
        seen = torch.ones(length, length, dtype=torch.bool).tril()
        scores = torch.where(seen, scores, torch.tensor(-1e9))
        return x + torch.einsum("bhqk,bkhd,hdc->bqc", scores.softmax(-1), v, self.o)


class Einsum(Decoder):
    def block(self) -> nn.Module:
        return EinsumBlock()


class AdditiveBlock(nn.Module):
    """triu of -inf added; one key head expanded for all; attention and feed-forward in parallel; squared ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        self.q, self.kv = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 2 * SIZE, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        y = self.norm(x)
        k, v = self.kv(y).chunk(2, dim=-1)
        k, v = (t.unsqueeze(1).expand(batch, HEADS, length, SIZE) for t in (k, v))
        mask = torch.full((length, length), float("-inf")).triu(1)
        weights = (heads(self.q(y)) @ k.transpose(2, 3) * SIZE**-0.5 + mask).softmax(dim=-1)
        return x + joined(weights @ v) + self.down(F.relu(self.up(y)).square())


class MultiQuery(Decoder):
    def block(self) -> nn.Module:
        return AdditiveBlock()


class BandBlock(nn.Module):
    """A sliding window out of two comparisons; RMSNorm with 1 + w; rotary by halves; repeat_interleave."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH) * 0.1)
        self.q, self.k, self.v = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 16), nn.Linear(WIDTH, 16)
        self.gate_up, self.down = nn.Linear(WIDTH, 128, bias=False), nn.Linear(64, WIDTH, bias=False)

    def norm(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + self.weight)

    @staticmethod
    def rotate(x: Tensor) -> Tensor:
        frequencies = 1.0 / (10000 ** (torch.arange(0, SIZE, 2).float() / SIZE))
        angles = torch.outer(torch.arange(x.shape[2]).float(), frequencies)
        cos, sin = angles.cos(), angles.sin()
        a, b = x.chunk(2, -1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        q, k, v = heads(self.q(y)), heads(self.k(y), 2), heads(self.v(y), 2)
        q, k = self.rotate(q), self.rotate(k)
        k, v = (t.repeat_interleave(2, dim=1) for t in (k, v))
        i = torch.arange(x.shape[1])
        band = (i[None] <= i[:, None]) & (i[None] > i[:, None] - 6)
        x = x + joined(F.scaled_dot_product_attention(q, k, v, attn_mask=band))
        up, gate = self.gate_up(self.norm(x)).chunk(2, dim=-1)
        return x + self.down(up * F.silu(gate))


class Windowed(Decoder):
    def block(self) -> nn.Module:
        return BandBlock()


class FoldedBlock(nn.Module):
    """Batch and heads folded into one axis, bmm and baddbmm, a linear bias of the distance (ALiBi)."""

    slopes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.o = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.register_buffer("slopes", torch.tensor([2.0**-i for i in range(1, HEADS + 1)]))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            y.reshape(batch, length, HEADS, SIZE).transpose(1, 2).reshape(batch * HEADS, length, SIZE)
            for y in self.qkv(x).chunk(3, -1)
        )
        distance = torch.arange(length)[None] - torch.arange(length)[:, None]
        bias = (self.slopes[:, None, None] * distance).masked_fill(distance > 0, float("-inf"))
        bias = bias.repeat(batch, 1, 1)
        weights = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=SIZE**-0.5).softmax(-1)
        y = torch.bmm(weights, v).view(batch, HEADS, length, SIZE)
        return x + self.o(joined(y))


class Alibi(Decoder):
    def block(self) -> nn.Module:
        return FoldedBlock()


class OneHeadBlock(nn.Module):
    """No head axis at all; softmax over float32 and back; sines for positions."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        scores = torch.matmul(self.q(x), self.k(x).mT) / math.sqrt(WIDTH)
        future = torch.triu(torch.ones(length, length, dtype=torch.bool), diagonal=1)
        scores = scores.masked_fill(future, torch.finfo(scores.dtype).min)
        return x + F.softmax(scores, dim=-1, dtype=torch.float32).to(x.dtype) @ self.v(x)


class OneHead(Decoder):
    def block(self) -> nn.Module:
        return OneHeadBlock()

    def forward(self, ids: Tensor) -> Tensor:
        place = torch.arange(ids.shape[1], dtype=torch.float32)[:, None]
        rate = torch.exp(torch.arange(0, WIDTH, 2).float() * (-math.log(10000.0) / WIDTH))
        x = self.embed(ids) + torch.stack((torch.sin(place * rate), torch.cos(place * rate)), -1).flatten(-2)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class CappedBlock(nn.Module):
    """Unit-length queries and keys with a learned scale, soft-capped scores, a block-diagonal (chunked) mask."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.scale = nn.Parameter(torch.full((HEADS, 1, 1), 4.0))

    def forward(self, x: Tensor) -> Tensor:
        q, k = (F.normalize(heads(w(x)), dim=-1) for w in (self.q, self.k))
        scores = (q * self.scale) @ k.transpose(-1, -2)
        scores = 5.0 * torch.tanh(scores / 5.0)
        i = torch.arange(x.shape[1])
        seen = (i[:, None] >= i) & (i[:, None] // 7 == i // 7)
        scores = scores + torch.zeros_like(seen, dtype=x.dtype).masked_fill(~seen, -1e9)
        return x + joined(scores.softmax(-1) @ heads(self.v(x)))


class Capped(Decoder):
    def block(self) -> nn.Module:
        return CappedBlock()


class LoopBlock(nn.Module):
    """One small attention a head in a Python loop, joined by cat."""

    def __init__(self) -> None:
        super().__init__()
        self.projections = nn.ModuleList([nn.Linear(WIDTH, 3 * SIZE) for _ in range(HEADS)])

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        seen = torch.tril(torch.ones((length, length))) != 0
        results: list[Tensor] = []
        for projection in self.projections:
            q, k, v = projection(x).split(SIZE, -1)
            scores = (q @ k.transpose(1, 2) / SIZE**0.5).masked_fill(~seen, float("-inf"))
            results.append(scores.softmax(-1) @ v)
        return x + torch.cat(results, dim=-1)


class Loop(Decoder):
    def block(self) -> nn.Module:
        return LoopBlock()


class InterleavedBlock(nn.Module):
    """Rotary on neighbouring pairs, half of each head only; SDPA; a gated unit with separate projections and GELU."""

    rate: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.o = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate, self.up, self.down = nn.Linear(WIDTH, 64), nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)
        self.register_buffer("rate", 10000.0 ** -(torch.arange(0, 4, 2).float() / 4))

    def rotate(self, x: Tensor) -> Tensor:
        turned, rest = x[..., :4], x[..., 4:]
        angles = torch.arange(x.shape[2])[:, None] * self.rate
        cos, sin = angles.cos(), angles.sin()
        even, odd = turned[..., ::2], turned[..., 1::2]
        turned = torch.stack((even * cos - odd * sin, odd * cos + even * sin), -1).flatten(-2)
        return torch.cat((turned, rest), -1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (heads(y) for y in self.qkv(x).chunk(3, -1))
        x = x + self.o(joined(F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)))
        return x + self.down(F.gelu(self.gate(x), approximate="tanh") * self.up(x))


class Interleaved(Decoder):
    def block(self) -> nn.Module:
        return InterleavedBlock()


class ComplexBlock(nn.Module):
    """Rotary by complex numbers, as the first Llama had it."""

    turns: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.o = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        angles = torch.outer(torch.arange(LONGEST).float(), 10000.0 ** -(torch.arange(0, SIZE, 2).float() / SIZE))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))

    def rotate(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.turns[: x.shape[2]]).flatten(3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (heads(y) for y in self.qkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, is_causal=True)
        return x + self.o(joined(y))


class Complex(Decoder):
    def block(self) -> nn.Module:
        return ComplexBlock()


class ConvolutionBlock(nn.Module):
    """Mixes each token with the one before it by a causal convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(WIDTH, WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convolution(F.pad(x.transpose(1, 2), (1, 0))).transpose(1, 2)


class Convolution(Decoder):
    def block(self) -> nn.Module:
        return ConvolutionBlock()


class RunningMeanBlock(nn.Module):
    """Each token sees the mean of those up to it: what a running sum continues, not a cache of keys."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        count = torch.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]
        return x + self.mix(torch.cumsum(x, 1) / count)


class RunningMean(Decoder):
    def block(self) -> nn.Module:
        return RunningMeanBlock()


MODELS: dict[str, type[nn.Module]] = {
    cls.__name__: cls
    for cls in (
        NanoGPT,
        Einsum,
        MultiQuery,
        Windowed,
        Alibi,
        OneHead,
        Capped,
        Loop,
        Interleaved,
        Complex,
        Convolution,
        RunningMean,
    )
}
