"""`graphwright quantize` and `graphwright evaluate`."""

import json
from pathlib import Path

import numpy as np
import pytest

from graphwright.ir import read_program
from graphwright.quantizing.quantization_report import QuantizationReport, Refused, StepRow
from tests.graphwright import models
from tests.graphwright.commands import Commands

OWN = f"{Path(models.__file__)}:own"
SCHEME = "w4a16-g32-rtn+embedding=none"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("the quick brown fox jumps over the lazy dog. " * 20)
    return file


def test_quantize_writes_a_program_and_a_table(commands: Commands, checkpoint: Path, tmp_path: Path) -> None:
    output = commands.succeed("quantize", checkpoint, "--to", SCHEME, "-o", tmp_path / "q.gw")
    lines = [line.split() for line in output.splitlines() if line.strip()]
    assert lines[0] == ["step", "places", "weights", "before", "after", "KL"]
    assert " ".join(lines[2][:2]) == 'quantize-weights{group=32, method="absmax"}'
    assert float(lines[2][-1]) > 0
    assert f"{SCHEME}: weights " in output
    assert f"next: graphwright compile {tmp_path}/q.gw -o out/q --assets {checkpoint}" in output
    assert ": q4<g32, sym>[" in (tmp_path / "q.gw").read_text()
    assert "decode" in read_program(tmp_path / "q.gw").graphs


def test_evaluate_compares_with_the_float_model(
    commands: Commands, checkpoint: Path, artifact: Path, text: Path, tmp_path: Path
) -> None:
    commands.succeed("quantize", checkpoint, "--to", SCHEME, "-o", tmp_path / "q.gw", "--no-measure")
    arguments = ("--text", text, "--against", artifact, "--rows", "2", "--threads", "1")
    output = commands.succeed("evaluate", artifact, *arguments)
    assert "KL         0 nats a token from" in output
    assert "agreement  100.00% of likeliest tokens" in output
    assert "over       126 tokens, in 2 rows of 64" in output
    interpreted = ("--interpreter", "--assets", checkpoint, "--text", text, "--against", checkpoint, "--json")
    found = json.loads(commands.succeed("evaluate", tmp_path / "q.gw", *interpreted, "--rows", "2"))
    assert 0 < found["kl"] < 1
    assert found["perplexity"] == pytest.approx(np.exp(found["nats_per_token"]))
    assert found["tokens"] == 126
    assert found["byte_perplexity"] > 1


def test_evaluate_without_a_float_model_says_perplexity_alone(commands: Commands, artifact: Path, text: Path) -> None:
    output = commands.succeed("evaluate", artifact, "--text", text, "--length", "16")
    assert output.startswith("perplexity ")
    assert " a token, " in output
    assert "KL" not in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there is no scheme to quantize to: give --to SCHEME, as in --to w4a16-g128"),
        (("--to", "w5"), "there is no scheme 'w5'"),
        (("--to", "w4-gptq"), "w4-gptq looks at what the model computes: give calibration (--calibration)"),
        (("--to", "w4-gptq", "--calibration", "none.txt"), "none.txt is not a file"),
        (("--calibration", "self"), "calibration: this is for quantization; name a scheme"),
        (("--bits", "4.5"), "mixed looks at what the model computes: give calibration"),
        (("--to", "w4", "--bits", "4.5"), "the scheme is mixed, not w4"),
    ],
)
def test_bad_options_are_one_line(commands: Commands, arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    assert message in commands.fail("quantize", OWN, *arguments, "-o", tmp_path / "q.gw")
    assert not list(tmp_path.iterdir())


def test_compile_and_export_refuse_bad_schemes_before_any_work(commands: Commands, tmp_path: Path) -> None:
    for command in ("compile", "export"):
        error = commands.fail(command, "no such model", "-o", tmp_path / "out", "--quantize", "w4a16-g36")
        assert "groups have 16, 32, 64, 128, 256 inputs, not 36" in error


def test_text_too_short_is_one_line(commands: Commands, checkpoint: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("a few words")
    error = commands.fail("evaluate", checkpoint, "--text", short, "--length", "64", "--interpreter")
    assert "short.txt has " in error
    assert "too few for a row of 64: give more, or a smaller length" in error


def test_refusals_are_told_by_reason(commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reported(*_: object, **__: object) -> QuantizationReport:
        steps = (StepRow("awq", False, 2048, 2048, None), StepRow("quantize-weights", True, 2048, 512, 0.25))
        refused = tuple(Refused("awq", f"model.layers.{i}.mlp", "the input has other readers") for i in range(3))
        return QuantizationReport("w4-awq", 2048, 512, 64, 16, steps, (0, 7), refused, ("a note",))

    monkeypatch.setattr(QuantizationReport, "of", reported)
    output = commands.succeed("quantize", OWN, "--max-context", "8", "--to", "w8", "-o", tmp_path / "q.gw")
    assert "awq refused model.layers.0-2.mlp: the input has other readers" in output
    assert "w4-awq: weights 2.0 KiB → 512 B, cache 8 B → 2 B a token" in output
    assert [line.split()[-1] for line in output.splitlines()[3:5]] == ["lossless", "0.25"]
    assert "a note" in output
