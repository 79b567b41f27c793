"""Models that do not generate, by the public functions and the command line; what asks them to generate is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM

import graphwright
from graphwright import UsageError
from graphwright.frontend import capture
from graphwright.ir import PassError, UserError
from graphwright.runtime import ArtifactError, GenerationError
from tests.frontend.test_logits import ROWS, Answering
from tests.graphwright import models
from tests.graphwright.commands import Commands
from tests.pretrained import save_pretrained
from tests.tensors import manual_seed

FACTORIES = Path(models.__file__)


def bert() -> BertForMaskedLM:
    manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    return BertForMaskedLM(config).eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("function") / "bert"
    save_pretrained(bert(), folder)
    return folder


def test_a_module_with_examples(tmp_path: Path) -> None:
    model = nn.Linear(4, 5)
    function = graphwright.compile_function(model, torch.zeros(2, 4), threads=1)
    x = torch.randn(7, 4)
    (found,) = function(input=x.numpy()).values()
    torch.testing.assert_close(torch.as_tensor(found), model(x).detach())
    assert function.report is not None
    assert [op.name for op in function.graph.graphs["forward"]] != []
    function.save(tmp_path / "copy")
    again = graphwright.load_function(tmp_path / "copy", threads=1)
    assert again.report is None
    np.testing.assert_array_equal(again(input=x.numpy())["output"], found)


def test_examples_by_name() -> None:
    model = bert()
    ids, mask = torch.randint(0, 50, (2, 6)), torch.ones(2, 6, dtype=torch.int64)
    function = graphwright.compile_function(model, {"attention_mask": mask, "input_ids": ids}, threads=1)
    mask[0, 4:] = 0
    found = function(input_ids=ids.numpy(), attention_mask=mask.numpy())["logits"]
    with torch.no_grad():
        wanted = model(ids, mask).logits
    torch.testing.assert_close(torch.as_tensor(found), wanted, rtol=1e-5, atol=1e-5)


def test_a_language_model_may_be_a_function_too() -> None:
    module = models.Own().eval()
    function = graphwright.compile_function(module, threads=1)
    ids = torch.randint(0, models.VOCABULARY, (3, 8))
    found = function(input_ids=ids.numpy())["logits"]
    torch.testing.assert_close(torch.as_tensor(found), module(ids).detach(), rtol=1e-5, atol=1e-5)


Answer = Callable[[torch.Tensor, torch.Tensor], torch.Tensor | tuple[torch.Tensor, ...]]
ANSWERS: list[tuple[Answer, list[str]]] = [
    (lambda x, y: (y, x), ["output.0", "output.1"]),
    (lambda x, y: y[:, -1], ["logits"]),
    (lambda x, y: y.transpose(1, 2), ["logits"]),
    (lambda x, y: y.flatten(0, 1), ["logits"]),
]


@pytest.mark.parametrize(("answer", "names"), ANSWERS)
def test_a_function_gives_what_the_module_returns(answer: Answer, names: list[str]) -> None:
    """Even if its logits, and what they would be as a language model's, are plain."""
    module = Answering(answer, columns=ROWS).eval()
    function = graphwright.compile_function(module, threads=1)
    ids = torch.randint(0, ROWS, (3, 8))
    with torch.no_grad():
        wanted: torch.Tensor | tuple[torch.Tensor, ...] = module(ids)
    found = function(input_ids=ids.numpy())
    assert list(found) == names
    for one, other in zip(found.values(), wanted if isinstance(wanted, tuple) else [wanted], strict=True):
        torch.testing.assert_close(torch.as_tensor(one), other, rtol=1e-5, atol=1e-5)
    assert list(graphwright.trace(module).graphs["forward"].outputs) == ["logits"]


def test_a_function_has_no_logits_to_name() -> None:
    with pytest.raises(UserError, match=r"a plain function gives all .*: leave out that 'output\.0' is its logits"):
        capture(Answering(lambda x, y: (y, x)), logits="output.0", function=True)


def test_a_sequence_that_is_too_long() -> None:
    function = graphwright.compile_function(bert(), threads=1)
    with pytest.raises(GenerationError, match="a sequence of 25 exceeds the longest that the function takes: 24"):
        function(input_ids=np.zeros((1, 25), np.int64))


def test_asked_to_generate(checkpoint: Path) -> None:
    with pytest.raises(PassError, match=r"tokens see later ones.*compiles as a plain function: .*compile_function"):
        graphwright.compile(bert())
    with pytest.raises(UsageError, match=r"'bert' does not generate: .*compile_function"):
        graphwright.compile(checkpoint)


def test_what_was_compiled_cannot_become_a_function(tmp_path: Path) -> None:
    program, _ = graphwright.optimize(graphwright.trace(models.Own()), "default")
    with pytest.raises(UsageError, match="has a cache already"):
        graphwright.compile_function(program)
    with pytest.raises(UsageError, match="takes no example inputs"):
        graphwright.compile_function(graphwright.trace(models.Own()), torch.zeros(2, 3, dtype=torch.int64))
    graphwright.compile_function(nn.Linear(4, 5), torch.zeros(2, 4), output=tmp_path / "f")
    with pytest.raises(ArtifactError, match="holds a plain function, not a language model"):
        graphwright.load(tmp_path / "f")


def test_on_the_command_line(commands: Commands, checkpoint: Path, tmp_path: Path) -> None:
    output = commands.succeed("compile", checkpoint, "-o", tmp_path / "bert")
    assert f"graphwright.load_function('{tmp_path / 'bert'}')(input_ids=…, attention_mask=…)" in output
    function = graphwright.load_function(tmp_path / "bert", threads=1)
    ids = np.zeros((1, 4), np.int64)
    assert function(input_ids=ids, attention_mask=np.ones_like(ids))["logits"].shape == (1, 4, 50)
    assert "holds a plain function" in commands.fail("generate", tmp_path / "bert", "hello")


def test_a_language_model_on_the_command_line(commands: Commands, tmp_path: Path) -> None:
    commands.succeed("compile", f"{FACTORIES}:two_way", "-o", tmp_path / "f", "--function")
    assert graphwright.load_function(tmp_path / "f").manifest.program.kind == "function"
    message = commands.fail("compile", f"{FACTORIES}:own", "-o", tmp_path / "g", "--function", "--max-context", "8")
    assert "has no context to limit" in message


def test_generation_on_the_command_line_is_refused(commands: Commands, checkpoint: Path) -> None:
    assert "'bert' does not generate" in commands.fail("generate", checkpoint, "hello")
    assert "tokens see later ones" in commands.fail(
        "compile", f"{FACTORIES}:two_way", "-o", checkpoint.parent / "no", "--max-context", "8"
    )
