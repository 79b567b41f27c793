"""Writes `torch-X.Y.pt2` beside itself with the torch that runs it: what the archives of that version look like.

Run it in an environment with that torch and nothing else: `python tests/frontend/archives/write.py`. A new version of
torch that is supported gets an archive of its own here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from tests.tensors import manual_seed


class Attention(nn.Module):
    """Sizes that are multiplied, divided and compared, named results, a constant."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        manual_seed(0)
        self.embed, self.qkv, self.head = nn.Embedding(20, 8), nn.Linear(8, 24), nn.Linear(8, 20, bias=False)
        self.register_buffer("positions", torch.arange(16.0), persistent=False)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        rows, length = ids.shape
        x = self.embed(ids)
        angle = self.positions[:length, None] * torch.tensor([1.0, 0.1])
        x = x + torch.cat((angle.sin(), angle.cos()), -1).repeat(1, 2)
        q, k, v = self.qkv(x).view(rows, length, 3, 2, 4).unbind(2)
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / 2
        scores = scores.masked_fill(torch.ones(length, length, dtype=torch.bool).triu(1), float("-inf"))
        if mask is not None:
            scores = scores * mask[:, None, None]
        y = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).reshape(rows * length, 8)
        return {"scores": self.head(y).view(rows, length, 20), "hidden": y.view(rows, length, 8)}


def write(folder: Path) -> Path:
    """The archive, with two free sizes and a bound on one of them."""
    rows, length = Dim.DYNAMIC(), Dim.DYNAMIC(max=16)
    shapes = {"ids": {0: rows, 1: length}, "mask": {0: rows, 1: length}}
    ids = torch.zeros(3, 5, dtype=torch.int64)
    exported = torch.export.export(Attention().eval(), (ids,), {"mask": torch.ones(3, 5)}, dynamic_shapes=shapes)
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # nine tenths of the archive
    path = folder / f"torch-{'.'.join(torch.__version__.split('.')[:2])}.pt2"
    torch.export.save(exported, path)
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{write(Path(__file__).parent)}\n")
