"""Small decoders that answer, and are called, as people's own code does: not with plain logits of every token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.handwritten import LONGEST, VOCABULARY, WIDTH, AdditiveBlock, BandBlock, InterleavedBlock, TrilBuffer


class Base(nn.Module):
    """Embedding, positions, a block, a final norm and a head; subclasses say how it is called and answers."""

    def __init__(self, block: Callable[[], nn.Module] = TrilBuffer) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Embedding(LONGEST, WIDTH)
        self.blocks = nn.ModuleList([block()])
        self.norm: nn.Module = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def states(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.places(torch.arange(ids.shape[-1]))
        for block in self.blocks:
            x = block(x)
        return x

    def reference(self, ids: Tensor) -> Tensor:
        """What every answer is held against: [B, S, V]."""
        return self.head(self.norm(self.states(ids)))


class RMSNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(WIDTH) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class LastAndLoss(Base):
    """`(logits, loss)`: every token when there are targets, else the last alone, kept as an axis by a list."""

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        _, length = idx.size()
        assert length <= LONGEST, f"cannot forward {length} tokens, the block size is {LONGEST}"
        x = self.norm(self.states(idx))
        if targets is not None:
            logits = self.head(x)
            return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)
        return self.head(x[:, [-1], :]), None


class LogitsAndLoss(Base):
    """`(logits, loss)` with logits of every token."""

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        logits = self.head(self.norm(self.states(idx)))
        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1))
        return logits, loss


class FoldedRows(Base):
    """Logits are [B*T, C] when it returns, as for the loss."""

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        logits = self.head(self.norm(self.states(idx)))
        batch, length, width = logits.shape
        logits = logits.view(batch * length, width)
        return logits, None if targets is None else F.cross_entropy(logits, targets.view(batch * length))


class LastKept(Base):
    """The last token as an axis of one, before the head; the loss is an attribute."""

    def __init__(self) -> None:
        super().__init__(InterleavedBlock)
        self.norm = RMSNorm()
        self.last_loss: Tensor | None = None

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        x = self.norm(self.states(tokens))
        if targets is not None:
            logits = self.head(x)
            self.last_loss = F.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1))
        else:
            logits = self.head(x[:, -1:, :])
            self.last_loss = None
        return logits


class LastBeforeNorm(Base):
    def __init__(self) -> None:
        super().__init__()
        self.norm = RMSNorm()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.states(x)[:, -1]))


class LastAfterHead(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.reference(x)[:, -1, :]


class LastByIndex(Base):
    def forward(self, x: Tensor) -> Tensor:
        states = self.states(x)
        return self.head(self.norm(states[torch.arange(x.size(0)), -1]))


class LastByLength(Base):
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            lengths = torch.full((x.size(0),), x.size(1), dtype=torch.long)
        return self.head(self.norm(self.states(x))[torch.arange(x.size(0)), lengths - 1])


class LastSelected(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.states(x).select(1, -1)).unsqueeze(1))


class LastNarrowed(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.states(x).narrow(1, x.size(1) - 1, 1))).squeeze(1)


class LastGathered(Base):
    def forward(self, x: Tensor) -> Tensor:
        place = torch.full((x.size(0), 1, WIDTH), x.size(1) - 1)
        return self.head(self.norm(self.states(x)).gather(1, place))[:, 0]


class LastOfSequenceFirst(Base):
    """Time stands first, as nn.Transformer has it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.states(x).transpose(0, 1)[-1]))


class LastThroughMLP(Base):
    """More than a head after the choice: a residual network, a cap, a bias, normalized."""

    def __init__(self) -> None:
        super().__init__(AdditiveBlock)
        self.up, self.down = nn.Linear(WIDTH, 40), nn.Linear(40, WIDTH)
        self.bias = nn.Parameter(torch.randn(VOCABULARY))

    def answer(self, x: Tensor) -> Tensor:
        x = x + self.down(F.gelu(self.up(self.norm(x))))
        y = 5 * torch.tanh(self.head(x) / 5) + self.bias
        return y - y.logsumexp(-1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.states(x)[:, -1])

    def reference(self, ids: Tensor) -> Tensor:
        return self.answer(self.states(ids))


class Dictionary(Base):
    def forward(self, x: Tensor) -> dict[str, Any]:
        states = self.states(x)
        return {"hidden": states, "scores": self.head(self.norm(states)), "loss": 0.0, "caches": [(states, states)]}


@dataclass
class Answer:
    loss: Tensor | None
    logits: Tensor
    states: tuple[Tensor, ...]


class DataClass(Base):
    def forward(self, input_ids: Tensor, labels: Tensor | None = None, use_cache: bool = False) -> Answer:
        states = self.states(input_ids)
        return Answer(None, self.head(self.norm(states)), (states, states))


class Pair(NamedTuple):
    scores: Tensor
    attentions: list[Tensor]


class NamedPair(Base):
    def forward(self, x: Tensor, mask: Tensor | None = None, start_pos: int = 0) -> Pair:
        states = self.states(x)
        attention = states @ states.transpose(1, 2)
        return Pair(self.head(self.norm(states)), [attention])


class Opaque(Base):
    """An object of its own, and a cache that is none of torch's."""

    def forward(self, x: Tensor) -> Any:
        return SimpleNamespace(logits=self.reference(x), cache=object(), name="answer")


class Nested(Base):
    def forward(self, x: Tensor) -> Any:
        states = self.states(x)
        return [states, (None, {"inner": (self.head(self.norm(states)), "done")})]


class OneHot(Base):
    """The table is multiplied, not looked up."""

    def states(self, ids: Tensor) -> Tensor:
        x = F.one_hot(ids, VOCABULARY).to(self.embed.weight.dtype) @ self.embed.weight
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states = self.states(x)
        return self.head(self.norm(states)), states


class ChannelsFirst(Base):
    """[B, V, T], as a loss over classes wants it; and the states."""

    def __init__(self) -> None:
        super().__init__(BandBlock)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states = self.states(x)
        return self.head(self.norm(states)).permute(0, 2, 1), states


class SequenceFirst(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.reference(x).transpose(0, 1)


class SequenceFirstFolded(Base):
    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.head(self.norm(self.states(x).transpose(0, 1))).reshape(-1, VOCABULARY), None


class OneChunk(Base):
    """The head is given so many tokens at once."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.head(part) for part in self.norm(self.states(x)).split(LONGEST, dim=1)]


MODELS: dict[str, type[Base]] = {
    cls.__name__: cls
    for cls in (
        LastAndLoss,
        LogitsAndLoss,
        FoldedRows,
        LastKept,
        LastBeforeNorm,
        LastAfterHead,
        LastByIndex,
        LastByLength,
        LastSelected,
        LastNarrowed,
        LastGathered,
        LastOfSequenceFirst,
        LastThroughMLP,
        Dictionary,
        DataClass,
        NamedPair,
        Opaque,
        Nested,
        OneHot,
        ChannelsFirst,
        SequenceFirst,
        SequenceFirstFolded,
        OneChunk,
    )
}
