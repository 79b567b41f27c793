"""Commands that write a model, or ask it, go by the tokenizer and the generation settings that `compile` writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import graphwright
from graphwright.compiling.compiler import Prepared
from graphwright.errors import OptionError
from graphwright.passes import Report
from graphwright.quantizing.quantization_report import QuantizationReport
from graphwright.runtime.settings import read_settings
from graphwright.runtime.tokenizer import Tokenizer
from graphwright.runtime.tokenizer_file import read_tokenizer
from graphwright.sources.generation_settings import GenerationSettings
from graphwright.sources.models import ModelOptions, Source
from tests.backends.models import LLAMA, decoder
from tests.graphwright import models
from tests.graphwright.commands import Commands
from tests.runtime import tokenizer_files

ADDED = 267
TEXT = "<|added|>"
ROWS = np.array([[1, 2]])
SETTINGS = {"do_sample": True, "temperature": 0.6, "top_k": 7}


class Stopped(Exception):
    """Where all that a test looks at has happened."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint without weights. Its configurations alone name a token and how to generate."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    token = {"content": TEXT, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    files: dict[str, Any] = {
        "config.json": {"model_type": "llama", **SETTINGS},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "added_tokens_decoder": {str(ADDED): token | {"special": True}},
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "tokenizer.json").write_text(tokenizer_files.byte_level(), encoding="utf-8")
    return folder


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> list[GenerationSettings | None]:
    """Instead of captures and passes a small decoder; the settings that each was held against."""
    held: list[GenerationSettings | None] = []

    def prepare(*_: object, generation: GenerationSettings | None = None, **__: object) -> Prepared:
        held.append(generation)
        return Prepared(decoder(LLAMA), Report(), QuantizationReport("w8", 1, 1, 1, 1, (), (), (), ()))

    monkeypatch.setattr("graphwright.compiling.compiler.prepare", prepare)
    return held


def written_by(command: str, commands: Commands, folder: Path, out: Path) -> None:
    if command == "export":
        commands.succeed("export", folder, "-o", out)
    else:
        more = ("--to", "w8") if command == "quantize" else ()
        commands.succeed(command, folder, *more, "-o", out)


@pytest.mark.parametrize("command", ["compile", "quantize", "export"])
def test_every_folder_says_the_same(
    command: str, commands: Commands, folder: Path, held: list[GenerationSettings | None], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    written_by(command, commands, folder, out)
    tokenizer = read_tokenizer(out)
    assert tokenizer is not None
    assert tokenizer.encode(TEXT, special_tokens=False) == [ADDED]
    defaults = read_settings((out / "generation_config.json").read_text(), "").defaults
    expected = {"temperature": 0.6, "top_k": 7, "top_p": 1.0, "typical_p": 1.0}
    assert defaults == expected | {"epsilon_cutoff": 0.0, "eta_cutoff": 0.0}
    assert [None if each is None else each.settings.defaults for each in held] == [defaults]


def test_genai_samples_as_the_checkpoint_says(
    folder: Path, held: list[GenerationSettings | None], tmp_path: Path
) -> None:
    graphwright.export(folder, tmp_path / "out", layout="genai", dialect="ort")
    search = json.loads((tmp_path / "out/genai_config.json").read_text())["search"]
    assert {name: search[name] for name in ("do_sample", "temperature", "top_k", "top_p")} == SETTINGS | {"top_p": 1.0}
    assert len(held) == 1


@pytest.mark.parametrize("command", ["compile", "quantize", "export"])
def test_every_command_refuses_the_same_before_the_work(
    command: str, commands: Commands, folder: Path, tmp_path: Path
) -> None:
    (folder / "generation_config.json").write_text('{"guidance_scale": 3}')
    more = ("--to", "w8") if command == "quantize" else ()
    error = commands.fail(command, folder, *more, "-o", tmp_path / "out")
    assert "generation_config.json: guidance_scale is 3: guidance needs a second pass" in error


@pytest.mark.parametrize("given", [True, False], ids=["assets", "its own"])
def test_evaluate_reads_a_text_as_the_artifact_does(
    given: bool,
    folder: Path,
    held: list[GenerationSettings | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    found: list[list[int]] = []

    def read_stream(_: object, tokenizer: Tokenizer, *__: object) -> None:
        found.append(tokenizer.encode(TEXT, special_tokens=False))
        raise Stopped

    def captured(source: Source, *_: object) -> Source:
        return source

    monkeypatch.setattr("graphwright.evaluating.evaluate.read_stream", read_stream)
    monkeypatch.setattr("graphwright.evaluating.evaluate._captured", captured)
    model: Any = decoder(LLAMA) if given else folder
    with pytest.raises(Stopped):
        graphwright.evaluate(model, tmp_path / "text.txt", interpreter=True, assets=folder if given else None)
    assert found == [[ADDED]]
    assert len(held) == 1


def test_evaluate_takes_logits_for_what_is_to_be_captured(
    monkeypatch: pytest.MonkeyPatch, commands: Commands, tmp_path: Path
) -> None:
    asked: list[ModelOptions] = []

    def opened(source: Source, *_: object) -> None:
        asked.append(source.options)
        if len(asked) == 2:
            raise Stopped

    monkeypatch.setattr("graphwright.evaluating.evaluate._open", opened)
    with pytest.raises(Stopped):
        graphwright.evaluate(decoder(LLAMA), ROWS, against=nn.Linear(2, 2), logits="output.1")
    assert asked == [ModelOptions(), ModelOptions(logits="output.1")]
    with pytest.raises(OptionError, match=r"logits.*comes too late"):
        graphwright.evaluate(decoder(LLAMA), ROWS, logits="output.1")
    monkeypatch.undo()
    (tmp_path / "text.txt").write_text("text")
    own = f"{models.__file__}:own"
    error = commands.fail("evaluate", own, "--text", tmp_path / "text.txt", "--logits", "output.7")
    assert "output.7" in error


@pytest.mark.parametrize("own", [True, False], ids=["its own tokenizer", "none"])
def test_the_next_step_after_an_adapter_keeps_the_settings_of_the_base(
    own: bool, commands: Commands, folder: Path, held: list[GenerationSettings | None], tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    if own:
        shutil.copyfile(folder / "tokenizer.json", adapter / "tokenizer.json")
    output = commands.succeed("quantize", folder, "--adapter", adapter, "--to", "w8", "-o", tmp_path / "q.gw")
    again = f"next: graphwright compile {folder} --adapter {adapter} --quantize w8 -o out/q\n"
    assert (again if own else f"next: graphwright compile {tmp_path}/q.gw -o out/q --assets {folder}\n") in output
    assert len(held) == 1
