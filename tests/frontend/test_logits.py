"""Which output holds the logits: told by the table of token ids, asked for where it is not plain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphwright.compiling.compiler import Options, prepare
from graphwright.compiling.report import Stopwatch
from graphwright.compiling.targets import is_language_model
from graphwright.errors import UsageError
from graphwright.frontend import capture
from graphwright.ir import UnsupportedError, UserError, run
from graphwright.ir.convention import LANGUAGE_MODEL_PROBLEM
from graphwright.sources.models import resolve
from tests.tensors import manual_seed

ROWS = 12
IDS = torch.randint(0, ROWS, (2, 7))


class Answering(nn.Module):
    """Token ids to `answer(embedded, logits)`."""

    def __init__(self, answer: Callable[[Tensor, Tensor], Any], width: int = 8, columns: int = ROWS) -> None:
        super().__init__()
        manual_seed(0)
        self.embed, self.head = nn.Embedding(ROWS, width), nn.Linear(width, columns)
        self.answer = answer

    def forward(self, ids: Tensor) -> Any:
        x = self.embed(ids)
        return self.answer(x, self.head(x))


def _outputs(module: nn.Module, logits: str | None = None) -> dict[str, str]:
    return {name: str(value.type) for name, value in capture(module, logits=logits).graphs["forward"].outputs.items()}


def test_several_are_listed_until_one_is_named() -> None:
    module = Answering(lambda x, y: {"first": y, "second": [x, 2 * y]}).eval()
    program = capture(module)
    assert list(program.graphs["forward"].outputs) == ["first", "second.0", "second.1"]
    problem = str(program.metadata[LANGUAGE_MODEL_PROBLEM])
    assert "several of its outputs may be the logits (first: f32[B, S, 12], second.1: f32[B, S, 12])" in problem
    for kind in ("auto", "language model"):
        with pytest.raises(UsageError, match=r"several of its outputs .*: say which: --logits NAME"):
            prepare(resolve(module), Options(kind=kind, max_context=16), Stopwatch(None))
    asked = capture(module, logits="second.1").graphs["forward"]
    torch.testing.assert_close(run(asked, {"input_ids": IDS})["logits"], 2 * module(IDS)["first"])


def test_none_with_as_many_columns_as_the_table_has_rows() -> None:
    module = Answering(lambda x, y: (x, y), columns=9).eval()
    problem = str(capture(module).metadata[LANGUAGE_MODEL_PROBLEM])
    assert "of 12 numbers" in problem
    assert "output.0: f32[B, S, 8], output.1: f32[B, S, 9]" in problem
    assert _outputs(module, "output.1") == {"logits": "f32[B, S, 9]"}


@pytest.mark.parametrize(("width", "name"), [(ROWS - 4, "logits"), (ROWS + 4, "output")])
def test_an_only_output_is_no_logits_unless_as_wide_as_the_table(width: int, name: str) -> None:
    """Hidden states would be taken for the logits of a smaller vocabulary."""
    module = Answering(lambda x, y: x, width=width)
    program = capture(module)
    assert {n: str(v.type) for n, v in program.graphs["forward"].outputs.items()} == {name: f"f32[B, S, {width}]"}
    assert f"none of its outputs has a row a token of {ROWS} numbers" in str(program.metadata[LANGUAGE_MODEL_PROBLEM])
    with pytest.raises(UsageError, match=r"takes token ids, but none of its outputs .*--logits NAME.*\(--function\)"):
        prepare(resolve(module), Options(max_context=16), Stopwatch(None))
    asked = capture(module, logits="output")
    assert is_language_model(asked)
    assert str(asked.graphs["forward"].outputs["logits"].type) == f"f32[B, S, {width}]"


def test_an_only_output_where_ids_index_no_table() -> None:
    class Turning(nn.Module):
        def forward(self, ids: Tensor) -> Tensor:
            return torch.cos(ids[..., None] * torch.arange(5.0))

    assert _outputs(Turning()) == {"logits": "f32[B, S, 5]"}


def test_a_name_that_does_not_exist_or_cannot_be() -> None:
    module = Answering(lambda x, y: (y, y.sum()))
    with pytest.raises(UserError, match=r"there is no output 'x' .*output\.0: f32\[B, S, 12\], output\.1: f32\[\]"):
        capture(module, logits="x")
    with pytest.raises(UserError, match=r"output 'output\.1' \(f32\[\]\) cannot be the logits"):
        capture(module, logits="output.1")
    with pytest.raises(UserError, match="only a module that takes token ids alone"):
        capture(nn.Linear(3, 3), torch.ones(2, 3), logits="output")


def test_the_name_logits_decides() -> None:
    assert _outputs(Answering(lambda x, y: {"draft": y, "logits": y + 1})) == {"logits": "f32[B, S, 12]"}


def test_one_tensor_twice_is_one_output() -> None:
    assert _outputs(Answering(lambda x, y: (y, {"again": y}))) == {"logits": "f32[B, S, 12]"}


def test_chunks_along_the_tokens_are_put_together() -> None:
    module = Answering(lambda x, y: [y[:, :1], y[:, 1:]]).eval()
    graph = capture(module).graphs["forward"]
    torch.testing.assert_close(run(graph, {"input_ids": IDS})["logits"], torch.cat(module(IDS), 1))


def test_what_is_not_needed_for_the_logits_is_not_looked_at() -> None:
    """The other output has no importer."""
    assert _outputs(Answering(lambda x, y: (y, x.mode(-1).values))) == {"logits": "f32[B, S, 12]"}


def test_numbers_of_a_function_are_tensors() -> None:
    module = Answering(lambda x, y: {"x": x, "count": 3, "rate": 0.5, "nothing": None}, width=16, columns=3)
    graph = capture(module).graphs["forward"]
    found = run(graph, {"input_ids": IDS})
    assert (found["count"].item(), found["rate"].item()) == (3, 0.5)
    assert sorted(found) == ["count", "rate", "x"]


def test_other_objects_of_a_function_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"output 'output\.1\.name' is a str; .* leave it out"):
        capture(Answering(lambda x, y: (x, {"name": "text"}), width=16, columns=3))


Answer = Callable[[Tensor, Tensor], Tensor]
NOT_THE_LAST: list[tuple[Answer, str]] = [
    (lambda x, y: y.mean(1), "mean cannot be lifted to all tokens: it does not plainly pick the last token"),
    (lambda x, y: y[:, 0], "slice cannot be lifted to all tokens: it does not plainly pick the last token"),
    (lambda x, y: y[:, -1] - y[:, -1].mean(0), "mean cannot be lifted to all tokens: the batch is not the first axis"),
    (lambda x, y: (y[:, -1:] + y).sum(1), "it does not plainly pick the last token"),
]


@pytest.mark.parametrize(("answer", "problem"), NOT_THE_LAST)
def test_what_is_not_the_last_tokens_is_not_lifted(answer: Answer, problem: str) -> None:
    found = str(capture(Answering(answer)).metadata[LANGUAGE_MODEL_PROBLEM])
    assert problem in found
    assert "test_logits.py:" in found
