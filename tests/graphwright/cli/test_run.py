"""`graphwright run`: lowered programs in the interpreter say what their artifacts say; bad input is one line."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import graphwright
from tests.graphwright.commands import Commands
from tests.tensors import listed, manual_seed

STORIES = Path(__file__).parents[4] / "shared" / "models" / "stories260k"
PROMPT = [5, 6, 7]


def test_a_published_model_begins_its_published_text(commands: Commands, tmp_path: Path) -> None:
    if not STORIES.exists():
        pytest.skip("the shared model stories260k is not here")
    commands.succeed("compile", STORIES, "-o", tmp_path / "out")
    lowered = tmp_path / "elsewhere.gw"
    shutil.copy(tmp_path / "out" / "lowered.gw", lowered)
    text = commands.succeed("run", lowered, "--weights", tmp_path / "out", "--max-new-tokens", "8")
    assert len(text) > 20
    assert (STORIES / "EXPECTED.txt").read_text().startswith(text.removesuffix("\n"))
    more = commands.succeed("run", tmp_path / "out" / "lowered.gw", "--prompt", "Once upon a", "--max-new-tokens", "3")
    assert more.startswith(" time, ")


def test_packed_codes_are_read_from_the_artifact(commands: Commands, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    commands.succeed("compile", checkpoint, "-o", folder, "--dialect", "portable", "--quantize", "w4a16-g16")
    assert "unpack_bits(file(" in (folder / "lowered.gw").read_text()
    (expected,) = graphwright.load(folder).generate([PROMPT], max_new_tokens=5, temperature=0, ignore_eos=True)
    found = commands.succeed("run", folder / "lowered.gw", "--ids", "5,6,7", "--max-new-tokens", "5")
    assert found == ",".join(map(str, expected)) + "\n"


@pytest.mark.slow
def test_weights_as_kernels_read_them_are_unpacked(commands: Commands, checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    commands.succeed("compile", checkpoint, "-o", folder, "--backend", "tvm", "--quantize", "w4a8-g16")
    text = (folder / "lowered.gw").read_text()
    assert "cpu.rounded_linear" in text
    assert "cpu.unpacked_codes(file(" in text
    (expected,) = graphwright.load(folder).generate([PROMPT], max_new_tokens=5, temperature=0, ignore_eos=True)
    found = commands.succeed("run", folder / "lowered.gw", "--ids", "5,6,7", "--max-new-tokens", "5")
    assert found == ",".join(map(str, expected)) + "\n"


def test_a_program_on_standard_input_has_its_weights_where_told(commands: Commands, artifact: Path) -> None:
    lowered = artifact / "lowered.gw"
    expected = commands.succeed("run", lowered, "--ids", "5,6,7", "--max-new-tokens", "2")
    piped = commands.succeed(
        "run", "-", "--weights", artifact, "--ids", "5,6,7", "--max-new-tokens", "2", stdin=lowered.read_text()
    )
    assert piped == expected


@pytest.fixture(scope="module")
def layer() -> nn.Linear:
    manual_seed(0)
    return nn.Linear(3, 2).requires_grad_(False)


@pytest.fixture(scope="module")
def function(layer: nn.Linear, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lowered text of a compiled layer."""
    folder = tmp_path_factory.mktemp("function") / "layer"
    graphwright.compile_function(layer, {"input": torch.zeros(4, 3)}).save(folder)
    return folder / "lowered.gw"


def test_a_function_takes_numbers_files_and_a_seed(
    commands: Commands, function: Path, layer: nn.Linear, tmp_path: Path
) -> None:
    x = torch.tensor([[1.0, -2.0, 0.5], [0.25, 3.0, 4.0]])
    np.save(tmp_path / "x.npy", x.numpy())
    for value in (json.dumps(listed(x)), tmp_path / "x.npy"):
        first, second = commands.succeed("run", function, "--input", f"input={value}").splitlines()
        assert first == f"input   input: f32[2, 3] = {listed(x)}"
        head, _, numbers = second.partition(" = ")
        assert head == "output  output: f32[2, 2]"
        # sums of three products of float32
        torch.testing.assert_close(torch.tensor(json.loads(numbers)), layer(x), rtol=1e-6, atol=1e-6)
    drawn = commands.succeed("run", function)
    assert drawn.splitlines()[0].endswith(" (drawn)")
    assert drawn == commands.succeed("run", function, "--seed", "0")
    assert drawn != commands.succeed("run", function, "--seed", "1")
    long = commands.succeed("run", function, "--input", f"input={json.dumps([[1.0, 1.0, 1.0]] * 9)}").splitlines()
    assert long[0] == "input   input: f32[9, 3] from 1 to 1, mean 1"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--prompt", "Once"), "--prompt is for language models with a cache; 'Linear' takes --input NAME=VALUE"),
        (("--ids", "1"), "--ids is for language models with a cache"),
        (("--input", "x"), "--input is 'x'; it must be NAME=VALUE"),
        (("--input", "y=1"), "--input y: there is no such input; the program takes input"),
        (("--input", "input=1", "--input", "input=2"), "--input input is given twice"),
        (("--input", "input=one"), "--input input is 'one'; it must be numbers"),
        (("--input", "input=[[1,2],[3]]"), "it must be numbers"),
        (("--input", "input=absent.npy"), "absent.npy cannot be read as an array (No such file or directory)"),
        (("--input", "input=[true,false]"), "--input input holds bool, the program takes f32["),
        (("--input", "input=[[1,2]]"), "was given as 2"),
        (("--input", "input=1"), "has shape []"),
        (("--seed", "many"), "--seed"),
    ],
)
def test_inputs_that_do_not_fit(commands: Commands, function: Path, words: tuple[str, ...], problem: str) -> None:
    assert problem in commands.fail("run", function, *words)


SPLIT = """program "split"
graph encode(%input_ids: i64[B, S], %x: f32[B, S]) {
  %i = cast(%input_ids) {dtype=f32} : f32[B, S]
  %y = mul(%x, %i) : f32[B, S]
  return context.0=%y
}
graph forward(%input_ids: i64[B, S], %context.0: f32[B, T]) {
  %s = sum(%context.0) {axes=[1], keepdims=false} : f32[B]
  %t = sum(%input_ids) {axes=[1], keepdims=false} : i64[B]
  %f = cast(%t) {dtype=f32} : f32[B]
  %y = add(%s, %f) : f32[B]
  return y=%y
}
"""


def test_what_an_encoder_makes_is_no_input_and_both_graphs_take_ids(commands: Commands) -> None:
    given = [f"--input={text}" for text in ("encode.input_ids=[[1,2]]", "forward.input_ids=[[5,6,7]]", "x=[[3,4]]")]
    lines = commands.succeed("run", "-", *given, stdin=SPLIT).splitlines()
    assert [line.split()[1] for line in lines] == ["encode.input_ids:", "x:", "forward.input_ids:", "y:"]
    assert lines[-1] == "output  y: f32[1] = [29.0]"  # 1 * 3 + 2 * 4, and 5 + 6 + 7
    drawn = commands.succeed("run", "-", stdin=SPLIT).splitlines()
    assert [line.endswith(" (drawn)") for line in drawn] == [True, True, True, False]
    taken = "there is no such input; the program takes encode.input_ids, x, forward.input_ids"
    assert taken in commands.fail("run", "-", "--input", "context.0=[[1]]", stdin=SPLIT)
    assert taken in commands.fail("run", "-", "--input", "input_ids=[[1]]", stdin=SPLIT)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--ids", "1,2", "--prompt", "x"), "give --prompt or --ids, not both"),
        (("--ids", "1,x"), "--ids is '1,x'; it must be token ids"),
        (("--ids", "1,9999"), "--ids holds the token id 9999 at position 1, outside the vocabulary"),
        (("--ids", ",".join(["5"] * 64)), "the prompt has 64 tokens, and"),
        (("--max-new-tokens", "0"), "--max-new-tokens"),
        (("--input", "input_ids=[[1]]", "--ids", "1"), "--input is for functions"),
        (("--seed", "1"), "--seed draws inputs of functions"),
    ],
)
def test_prompts_that_do_not_fit(commands: Commands, artifact: Path, words: tuple[str, ...], problem: str) -> None:
    assert problem in commands.fail("run", artifact / "lowered.gw", *words)


def test_weights_that_are_not_there(commands: Commands, artifact_copy: Path, tmp_path: Path) -> None:
    lowered = artifact_copy / "lowered.gw"
    apart = tmp_path / "apart.gw"
    apart.write_text(lowered.read_text())
    message = commands.fail("run", apart, "--ids", "1")
    assert message.startswith("weight '")
    assert message.endswith("weights.safetensors: the file is missing")
    message = commands.fail("run", apart, "--prompt", "x", "--weights", tmp_path)
    assert "is not a Graphwright artifact" in message
    apart.write_text(
        lowered.read_text().replace('file("weights.safetensors", "', 'file("weights.safetensors", "no.', 1)
    )
    assert "there is no tensor 'no." in commands.fail("run", apart, "--ids", "1", "--weights", artifact_copy)
    assert f"give {lowered}" in commands.fail("run", artifact_copy)
    assert "its name ends in .gw" in commands.fail("run", artifact_copy / "model.onnx")
    (artifact_copy / "tokenizer.json").unlink()
    assert "there is no tokenizer.json" in commands.fail("run", lowered, "--prompt", "x")
    lowered.write_text('program "p"\ngraph other(%x: f32[2]) {\n  return y=%x\n}\n')
    assert "'p' has the graphs other; what can be run is prefill or forward" in commands.fail("run", lowered)


def test_a_pipe_in_an_input_s_place_is_not_waited_for(commands: Commands, function: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npy")
    outcome = commands.run("run", function, "--input", f"input={tmp_path / 'x.npy'}")
    assert outcome.status == 2
    assert "x.npy cannot be read as an array (it is not a regular file)" in outcome.errors
