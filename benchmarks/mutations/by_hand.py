"""A decoder that spells everything out, with traps: what looks like a known idea in it, but is another one."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

VOCABULARY, WIDTH, HEADS, SIZE = 256, 32, 4, 8
TURNED = 4
"""Elements of each head that are rotated, in neighbouring pairs."""
EPSILON = 1e-5


class ByHand(nn.Module):
    """Two blocks: heads folded into the batch under a linear bias (ALiBi), and tiled heads with partial rotation."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.folded = Folded()
        self.tiled = Tiled()
        self.norm = Norm()
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.tiled(self.folded(self.embed(ids)))))


class Norm(nn.Module):
    """LayerNorm by its formula."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        variance = x.var(-1, keepdim=True, unbiased=False)
        return (x - x.mean(-1, keepdim=True)) * torch.rsqrt(variance + EPSILON) * self.weight + self.bias


class Folded(nn.Module):
    """Attention by `bmm` over batch and heads in one axis, each head with a slope; then GELU with its error function.

    The trap: 2 tanh(x / 3) bends the branch, which a soft cap, with one number, would not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.norm2 = Norm(), Norm()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.slopes: Tensor
        self.register_buffer("slopes", torch.tensor([2.0**-i for i in range(1, HEADS + 1)]))

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            y.reshape(batch, length, HEADS, SIZE).transpose(1, 2).reshape(batch * HEADS, length, SIZE)
            for y in self.qkv(self.norm(x)).chunk(3, -1)
        )
        distance = torch.arange(length)[None] - torch.arange(length)[:, None]
        bias = (self.slopes[:, None, None] * distance).masked_fill(distance > 0, float("-inf"))
        scores = torch.baddbmm(bias.repeat(batch, 1, 1), q, k.transpose(1, 2), alpha=SIZE**-0.5)
        mixed = torch.bmm(scores.softmax(-1), v).view(batch, HEADS, length, SIZE)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        wide = self.up(self.norm2(x))
        return x + 2.0 * torch.tanh(self.down(0.5 * wide * (1.0 + torch.erf(wide / math.sqrt(2.0)))) / 3.0)


class Tiled(nn.Module):
    """Two heads of keys for four of queries, in the order 0 1 0 1: the trap, since groups stand as 0 0 1 1."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.norm2 = Norm(), Norm()
        self.q, self.k, self.v = (nn.Linear(WIDTH, n, bias=False) for n in (WIDTH, WIDTH // 2, WIDTH // 2))
        self.out = nn.Linear(WIDTH, WIDTH)
        self.gate, self.up = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(WIDTH, 2 * WIDTH)
        self.down = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        y = self.norm(x)
        q, k, v = (p(y).view(batch, length, -1, SIZE).transpose(1, 2) for p in (self.q, self.k, self.v))
        q, k = turned(q), turned(k)
        k, v = (t[:, None].expand(batch, 2, 2, length, SIZE).reshape(batch, HEADS, length, SIZE) for t in (k, v))
        scores = q @ k.transpose(2, 3) / math.sqrt(SIZE)
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(future, float("-inf")).softmax(-1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, WIDTH))
        y = self.norm2(x)
        gate = self.gate(y)
        return x + self.down(gate * torch.sigmoid(gate) * self.up(y))


def turned(x: Tensor) -> Tensor:
    """The first elements of each head rotated in neighbouring pairs, the others as they are."""
    frequencies = 100.0 ** (-torch.arange(0, TURNED, 2).to(x.dtype) / TURNED)
    angles = torch.outer(torch.arange(x.shape[2]).to(x.dtype), frequencies)
    cos, sin = angles.cos(), angles.sin()
    a, b = x[..., 0:TURNED:2], x[..., 1:TURNED:2]
    pairs = torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
    return torch.cat((pairs, x[..., TURNED:]), -1)
