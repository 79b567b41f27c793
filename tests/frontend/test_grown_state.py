"""Modules that an earlier call has left with something grown: captured as a fresh one, or refused in one line."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from graphwright.frontend import capture
from graphwright.ir import Interpreter, UnsupportedError
from tests.tensors import manual_seed

WIDTH, VOCABULARY = 8, 13


class GrownTable(nn.Module):
    """Angles of the positions, in a table that grows with the longest text seen."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.table: torch.Tensor | None = None

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        length = ids.shape[1]
        if self.table is None or self.table.shape[0] < length:
            angles = torch.outer(torch.arange(length).float(), 0.5 ** torch.arange(WIDTH).float())
            self.table = angles.cos()
        return self.head(self.embed(ids) + self.table[:length])


class FilledCache(nn.Module):
    """Attention over the keys of all calls so far."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.keys: torch.Tensor | None = None

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        keys = x if self.keys is None else torch.cat([self.keys, x], 1)
        self.keys = keys
        scores = x @ keys.transpose(1, 2)
        past = keys.shape[1] - ids.shape[1]
        seen = torch.ones_like(scores, dtype=torch.bool).tril(past)
        return self.head(scores.masked_fill(~seen, -torch.inf).softmax(-1) @ keys)


def test_a_table_that_an_earlier_call_grew_is_no_matter() -> None:
    manual_seed(0)
    module = GrownTable().eval()
    module(torch.zeros(1, 40, dtype=torch.int64))
    program = capture(module)
    interpreter = Interpreter("float64")
    for length in (3, 20):
        ids = torch.randint(VOCABULARY, (2, length))
        fresh = GrownTable().eval()
        fresh.load_state_dict(module.state_dict())
        expected = fresh(ids).detach().double()
        found = interpreter.run(program.graphs["forward"], {"input_ids": ids})["logits"]
        # float32 in eager against float64: a few roundings of sums of eight
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_cache_that_an_earlier_call_filled_is_refused_in_one_line() -> None:
    module = nn.Sequential(FilledCache()).eval()
    module(torch.zeros(1, 5, dtype=torch.int64))
    with pytest.raises(UnsupportedError, match=r"^'0\.keys' of Sequential holds what an earlier call computed: set it"):
        capture(module)
    for rows in (1, 2):
        module = FilledCache().eval()
        with torch.no_grad():
            module(torch.zeros(rows, 5, dtype=torch.int64))
        with pytest.raises(UnsupportedError) as caught:
            capture(module)
        assert "FilledCache" in str(caught.value)
        assert "\n" not in str(caught.value)
