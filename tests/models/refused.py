"""Modules that no cache can continue, or that we cannot prove: each mixes tokens in a way of its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.handwritten import WIDTH, Decoder, heads, joined


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.wide = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)


class NextTokenBlock(_Block):
    """A convolution that is centred: each token sees the next one."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.wide(x.transpose(1, 2)).transpose(1, 2)


class MeanOfAllBlock(_Block):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(x.mean(1, keepdim=True))


class BackwardsBlock(_Block):
    """Running sums from the end."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(x.flip(1).cumsum(1).flip(1))


class LastTokenBlock(_Block):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(x[:, -1:])


class TokensAsFeaturesBlock(_Block):
    """Rows of the reshaped tensor hold parts of several tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(x.reshape(x.shape[0], WIDTH, x.shape[1]).transpose(1, 2))


class UnscaledSoftmaxBlock(_Block):
    """Linear attention without a mask: keys and values are summed over all tokens."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = heads(x), heads(self.mix(x)).relu(), heads(x)
        return x + joined(q @ (k.transpose(2, 3) @ v))


class MaskFromDataBlock(_Block):
    """Which tokens are seen depends on the tokens."""

    def forward(self, x: Tensor) -> Tensor:
        q = k = v = heads(self.mix(x))
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        mask = causal & (x.mean(-1) > 0)[:, None, None]
        return x + joined(F.scaled_dot_product_attention(q, k, v, attn_mask=mask | causal.T.tril()))


class LooksAheadBlock(_Block):
    """A causal mask that is one token too generous."""

    def forward(self, x: Tensor) -> Tensor:
        q = k = v = heads(self.mix(x))
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(1)
        return x + joined(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


class NormOverTokensBlock(_Block):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(x.softmax(1))


class DividedByLengthBlock(_Block):
    """What a token becomes depends on how many come after it."""

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(x) / x.shape[1]


class FromTheEndBlock(_Block):
    """Positions that are counted from the last token."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(x.shape[1] - 1, -1, -1, dtype=x.dtype)[:, None]


class LongerWindowBlock(_Block):
    """A window that grows with the sequence."""

    def forward(self, x: Tensor) -> Tensor:
        q = k = v = heads(self.mix(x))
        place = torch.arange(x.shape[1])
        near = place[:, None] - place < x.shape[1] - 3
        mask = near & (place <= place[:, None])
        return x + joined(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


class SharperWithLengthBlock(_Block):
    """Scores multiplied by the logarithm of the length."""

    def forward(self, x: Tensor) -> Tensor:
        q = k = v = heads(self.mix(x))
        q = q * torch.log(torch.full((), x.shape[1], dtype=x.dtype))
        return x + joined(F.scaled_dot_product_attention(q, k, v, is_causal=True))


def _decoder(block: type[nn.Module]) -> type[Decoder]:
    def made(_: Decoder) -> nn.Module:
        return block()

    return type(block.__name__.removesuffix("Block"), (Decoder,), {"block": made})


REFUSED: dict[str, tuple[type[Decoder], str]] = {
    block.__name__.removesuffix("Block"): (_decoder(block), reason)
    for block, reason in (
        (NextTokenBlock, "convolution at blocks.0.wide: it mixes tokens along axis 2"),
        (MeanOfAllBlock, "mean at blocks.0: it mixes tokens along axis 1"),
        (BackwardsBlock, "at blocks.0: "),
        (LastTokenBlock, "slice at blocks.0: it mixes tokens along axis 1"),
        (TokensAsFeaturesBlock, "the trace holds only where (axis 1 of input 0 % 32) != 0"),
        (UnscaledSoftmaxBlock, "matmul at blocks.0: it mixes tokens along axis"),
        (MaskFromDataBlock, "attention at blocks.0: "),
        (LooksAheadBlock, "attention at blocks.0: its mask is 'full'"),
        (DividedByLengthBlock, "it depends on how long the whole sequence is"),
        (FromTheEndBlock, "it depends on how long the whole sequence is"),
        (LongerWindowBlock, "attention at blocks.0: its mask is 'full'"),
        (SharperWithLengthBlock, "it depends on how long the whole sequence is"),
        (NormOverTokensBlock, "softmax at blocks.0: it mixes tokens along axis 1"),
    )
}
"""The module, and what its refusal says."""
