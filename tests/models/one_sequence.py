"""Decoders of one sequence: token ids [S] without a batch, as short code about transformers is written."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.handwritten import HEADS, LONGEST, SIZE, VOCABULARY, WIDTH


class Base(nn.Module):
    """A table, a block of attention and one of a network; subclasses say how. `reference` answers [S, V]."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(LONGEST, WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def reference(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.states(ids)))

    def states(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.places(torch.arange(ids.shape[0]))
        x = x + self.proj(self.attend(*self.qkv(self.norm(x)).chunk(3, dim=-1)))
        return x + self.network(self.norm(x))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        length = q.shape[0]
        q, k, v = (y.view(length, HEADS, SIZE).transpose(0, 1) for y in (q, k, v))
        return self.weigh(q, k, v).transpose(0, 1).reshape(length, WIDTH)

    def weigh(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Heads [H, S, size]."""
        mask = torch.tril(torch.ones(q.shape[1], q.shape[1], dtype=torch.bool))
        scores = q @ k.transpose(-2, -1) / math.sqrt(SIZE)
        return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v

    def network(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))

    def forward(self, ids: Tensor) -> Any:
        return self.reference(ids)


class Pico(Base):
    """Heads in a list, an additive mask, norms by hand, and the table as head."""

    def norm_by_hand(self, x: Tensor) -> Tensor:
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=0)
        return self.norm.weight * (x - mean) / torch.sqrt(variance + 1e-5) + self.norm.bias

    def reference(self, ids: Tensor) -> Tensor:
        x = self.embed.weight[ids] + self.places.weight[: ids.size(0)]
        q, k, v = (y.split(SIZE, dim=-1) for y in self.qkv(self.norm_by_hand(x)).split(WIDTH, dim=-1))
        mask = (1 - torch.tril(torch.ones(x.size(0), x.size(0)))) * -1e10
        heads = [torch.softmax(a @ b.T / SIZE**0.5 + mask, -1) @ c for a, b, c in zip(q, k, v, strict=True)]
        x = x + self.proj(torch.hstack(heads))
        h = self.up(self.norm_by_hand(x))
        x = x + self.down(0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))))
        return self.norm_by_hand(x) @ self.embed.weight.T


class Fused(Base):
    """torch's attention, of [heads, sequence, size]."""

    def weigh(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class FusedMask(Base):
    """An additive mask a head: a slope of distance."""

    def weigh(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        place = torch.arange(q.shape[1])
        distance = place[None, :] - place[:, None]
        slopes = torch.tensor([2.0 ** -(i + 1) for i in range(HEADS)])
        bias = (slopes[:, None, None] * distance).masked_fill(distance > 0, float("-inf"))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


class FusedBatchOfOne(Base):
    """A batch of one inside, and out of it again."""

    def weigh(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]


class OneHead(Base):
    """All of it in two axes."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        mask = torch.full((q.shape[0], q.shape[0]), float("-inf")).triu(1)
        return (torch.mm(q, k.t()) * WIDTH**-0.5 + mask).softmax(dim=1).mm(v)


class Rotary(Base):
    """Complex rotations, products by einsum, a root mean square norm, gated network, fewer heads of keys."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.norm = nn.RMSNorm(WIDTH, eps=1e-5)  # another norm

    def states(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        x = x + self.proj(self.attend(*self.qkv(self.norm(x)).chunk(3, dim=-1)))
        return x + self.network(self.norm(x))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        length = q.shape[0]
        angles = torch.outer(torch.arange(length).float(), 10000.0 ** (-torch.arange(0, SIZE, 2) / SIZE))
        turn = torch.polar(torch.ones_like(angles), angles)[:, None]

        def turned(x: Tensor) -> Tensor:
            pairs = torch.view_as_complex(x.float().reshape(length, -1, SIZE // 2, 2))
            return torch.view_as_real(pairs * turn).flatten(2).type_as(x)

        q, k, v = turned(q.view(length, HEADS, SIZE)), turned(k[:, : 2 * SIZE].view(length, 2, SIZE)), v
        v = v[:, : 2 * SIZE].view(length, 2, SIZE)
        k, v = (y.repeat_interleave(HEADS // 2, dim=1) for y in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(SIZE)
        scores = scores + torch.triu(torch.full((length, length), float("-inf")), diagonal=1)
        return torch.einsum("hqk,khd->qhd", F.softmax(scores, dim=-1), v).flatten(1)

    def network(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Rotated(Rotary):
    """Rotation by halves, tables of the whole context, a window."""

    cos: Tensor
    sin: Tensor

    def __init__(self) -> None:
        super().__init__()
        angles = torch.outer(torch.arange(LONGEST), 10000.0 ** (-torch.arange(0, SIZE, 2) / SIZE)).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        length = q.shape[0]
        q, k, v = (y.view(length, HEADS, SIZE).permute(1, 0, 2) for y in (q, k, v))
        q, k = (
            y * self.cos[:length] + torch.cat([-y[..., SIZE // 2 :], y[..., : SIZE // 2]], -1) * self.sin[:length]
            for y in (q, k)
        )
        place = torch.arange(length)
        ahead = place.unsqueeze(1) - place.unsqueeze(0)
        mask = (ahead >= 0) & (ahead < 5)
        scores = torch.where(mask, torch.bmm(q, k.mT) * SIZE**-0.5, -torch.inf)
        return torch.bmm(scores.softmax(2), v).permute(1, 0, 2).reshape(length, -1)


class Layers(Base):
    """torch's own layers, which take a sequence without a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)

    def states(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.places.weight[: ids.shape[0]]
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[0])
        return self.layer(x, src_mask=mask, is_causal=True)


class Experts(FusedBatchOfOne):
    """Two of four experts a token: all are computed, most are weighed by nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, 4)
        self.experts = nn.Parameter(torch.randn(4, WIDTH, WIDTH) / WIDTH**0.5)

    def network(self, x: Tensor) -> Tensor:
        values, chosen = self.router(x).topk(2, dim=-1)
        weights = x.new_zeros(x.shape[0], 4).scatter(1, chosen, values.softmax(-1))
        return torch.einsum("se,sed->sd", weights, torch.einsum("sd,edf->sef", x, self.experts))


class Convolved(Experts):
    """A causal convolution over the tokens mixes them, beside attention."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv1d(WIDTH, WIDTH, 3, groups=WIDTH)

    def network(self, x: Tensor) -> Tensor:
        return self.mix(F.pad(super().network(x).T, (2, 0))).T


class OneHot(Fused):
    def states(self, ids: Tensor) -> Tensor:
        x = F.one_hot(ids, VOCABULARY).to(self.embed.weight.dtype) @ self.embed.weight
        return x + self.proj(self.attend(*self.qkv(x).chunk(3, dim=-1)))


class Last(OneHot):
    """Logits [V] of the last token alone."""

    def forward(self, ids: Tensor) -> Any:
        return self.head(self.norm(self.states(ids)[-1]))


class LastAndLoss(FusedMask):
    """`(logits, loss)`, the last token as an axis of one."""

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - another way to be called
        self, idx: Tensor, targets: Tensor | None = None
    ) -> Any:
        x = self.norm(self.states(idx))
        if targets is not None:
            logits = self.head(x)
            return logits, F.cross_entropy(logits, targets)
        return self.head(x[[-1], :]), None


class LogitsAndLoss(Base):
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - another way to be called
        self, *, tokens: Tensor, targets: Tensor | None = None
    ) -> Any:
        logits = self.reference(tokens)
        return {"loss": None if targets is None else F.cross_entropy(logits, targets), "logits": logits}


class ChannelsFirst(OneHead):
    """[1, V, S], and the states."""

    def forward(self, ids: Tensor) -> Any:
        return self.reference(ids).T.unsqueeze(0), [self.states(ids)]


class AnyNumberOfAxes(Base):
    """Would take a batch and mix its rows: the example says that there is none."""

    def states(self, ids: Tensor) -> Tensor:
        x = self.embed(ids.flatten()) + self.places(torch.arange(ids.numel()))
        return x + self.proj(self.attend(*self.qkv(x).chunk(3, dim=-1)))


MODELS: dict[str, type[Base]] = {
    cls.__name__: cls
    for cls in (
        Pico,
        Rotary,
        Rotated,
        Layers,
        Convolved,
        Last,
        LastAndLoss,
        LogitsAndLoss,
        ChannelsFirst,
        AnyNumberOfAxes,
    )
}
