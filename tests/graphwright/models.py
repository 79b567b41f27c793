"""Small models for the tests of the public face. Also read as `models.py:factory` by the command line under test."""

import torch
from torch import nn

from tests.tensors import manual_seed

VOCABULARY = 50


class Own(nn.Module):
    """One attention and one projection, written without a cache."""

    def __init__(self) -> None:
        super().__init__()
        manual_seed(0)
        self.embed = nn.Embedding(VOCABULARY, 16)
        self.qkv = nn.Linear(16, 48)
        self.head = nn.Linear(16, VOCABULARY)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        q, k, v = (y.unflatten(-1, (2, 8)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(x + y.transpose(1, 2).flatten(2))


class Counter(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mode(x, -1)[0]


class Unsupported(Own):
    """Holds an operator that nothing imports."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(Counter())

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.block(super().forward(ids))


class Backwards(Own):
    """Each token is added to the one at the same place from the end."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        return self.head(x + x.flip(1))


class Choosing(Own):
    """Takes another path when the tokens are large."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return super().forward(ids) if ids.sum() > 10 else self.head(self.embed(ids))


class TwoWay(Own):
    """Attention without a mask: tokens see later ones."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        q, k, v = (y.unflatten(-1, (2, 8)).transpose(1, 2) for y in self.qkv(x).chunk(3, -1))
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.head(x + y.transpose(1, 2).flatten(2))


def own() -> nn.Module:
    return Own()


def unsupported() -> nn.Module:
    return Unsupported()


def two_way() -> nn.Module:
    return TwoWay()


def backwards() -> nn.Module:
    return Backwards()


def choosing() -> nn.Module:
    return Choosing()


def by_name() -> tuple[nn.Module, dict[str, torch.Tensor]]:
    return nn.Bilinear(3, 4, 5), {"input2": torch.zeros(2, 4), "input1": torch.zeros(2, 3)}


def turning() -> tuple[nn.Module, torch.Tensor]:
    class Turning(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.polar(x, x)

    return Turning(), torch.zeros(2, 3)


def not_a_number() -> nn.Module:
    model = Own()
    model.qkv.weight.data[3, 2] = float("nan")
    return model


def function() -> tuple[nn.Module, torch.Tensor]:
    return nn.Linear(4, 5), torch.zeros(2, 4)


def failing() -> nn.Module:
    raise ValueError("no weights today")


def text() -> str:
    return "not a module"


NUMBER = 3
