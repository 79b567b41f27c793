"""`--logits NAME`: which of several outputs holds the logits, where a model does not make it plain."""

from pathlib import Path

import pytest
import torch

import graphwright
from tests.graphwright.commands import Commands
from tests.tensors import manual_seed

MODEL = """
import torch
from torch import nn


class TwoAnswers(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(12, 8), nn.Linear(8, 12)

    def forward(self, input_ids):
        x = self.head(self.embed(input_ids))
        return {"first": x, "second": 2 * x}


def two_answers():
    torch.manual_seed(0)
    return TwoAnswers().eval()
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "two.py").write_text(MODEL)
    return f"{tmp_path / 'two.py'}:two_answers"


def test_the_name_that_is_right(tmp_path: Path, commands: Commands, model: str) -> None:
    assert "return logits=" in commands.succeed("trace", model, "--logits", "second")
    options = ("--max-context", "16", "-o", tmp_path / "out")
    commands.succeed("compile", model, "--logits", "second", *options)
    manual_seed(0)
    embed, head = torch.nn.Embedding(12, 8), torch.nn.Linear(8, 12)
    got = torch.as_tensor(graphwright.load(tmp_path / "out").logits([[3, 1, 4]]))
    torch.testing.assert_close(got, 2 * head(embed(torch.tensor([[3, 1, 4]]))).detach())


def test_a_name_that_is_wrong(tmp_path: Path, commands: Commands, model: str) -> None:
    for command in (("trace", model), ("compile", model, "-o", tmp_path / "out")):
        line = commands.fail(*command, "--logits", "third")
        assert "'third'" in line
        assert "first" in line
        assert "second" in line
    assert not (tmp_path / "out").exists()
