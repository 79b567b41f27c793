"""Folders for other runtimes: the interface that Hugging Face's tools expect, with padding on either side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphwright.backends.interface import Companions
from graphwright.compiling.lowering import export_folder
from graphwright.ir import Program, UserError
from graphwright.runtime.errors import ArtifactError
from tests.backends.models import LLAMA, MODELS, decoder
from tests.backends.running import Reference, close_enough, prefill_inputs, start

PROMPTS = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14, 15]]
CONTINUATION = [[20, 21, 22], [23, 24, 25], [26, 27, 28]]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    return folder


def _expected(program: Program, row: int, steps: int) -> np.ndarray[Any, Any]:
    """Logits of every token of a row's prompt and continuation, from the row alone."""
    ids = np.array([PROMPTS[row] + CONTINUATION[row][:steps]])
    inputs = prefill_inputs(ids, np.zeros(1, np.int64), np.array([ids.shape[1]]))
    return Reference(program.graphs["prefill"], 1, ids.shape[1]).step(inputs)[0]


def _padded(left: bool) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    width = max(map(len, PROMPTS))
    ids, mask = np.zeros((3, width), np.int64), np.zeros((3, width), np.int64)
    for row, prompt in enumerate(PROMPTS):
        place = slice(width - len(prompt), width) if left else slice(len(prompt))
        ids[row, place], mask[row, place] = prompt, 1
    return ids, mask


@pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", ["llama", "stories", "gemma2", "gpt2"])
def test_optimum_grows_its_cache_and_gets_every_logit(
    name: str, dialect: str, left: bool, checkpoint: Path, tmp_path: Path
) -> None:
    program = decoder(MODELS[name])
    export_folder(program, tmp_path / "e", layout="optimum", dialect=dialect, companions=Companions(checkpoint))
    session = start(tmp_path / "e" / "model.onnx")
    assert [i.name for i in session.get_inputs()][:3] == ["input_ids", "attention_mask", "position_ids"]
    outputs = [o.name for o in session.get_outputs()]
    caches = {
        i.name: np.zeros((3, i.shape[1], 0, i.shape[3]), np.float32)
        for i in session.get_inputs()
        if i.name.startswith("past_key_values.")
    }
    ids, mask = _padded(left)
    for step in range(4):
        feeds = {"input_ids": ids, "attention_mask": mask, "position_ids": np.zeros_like(ids), **caches}
        results = dict(zip(outputs, session.run(None, feeds), strict=True))
        logits = results.pop("logits")
        assert logits.shape == (*ids.shape, 48)
        for row in range(3):
            want = _expected(program, row, step)
            if step == 0:
                got, want = logits[row][mask[row] == 1], want
            else:
                got, want = logits[row], want[-1:]
            assert np.abs(got - want).max() <= close_enough(want)
        caches = {n.replace("present.", "past_key_values."): v for n, v in results.items()}
        assert {c.shape[2] for c in caches.values()} == {mask.shape[1]}
        if step < 3:
            ids = np.array([[row[step]] for row in CONTINUATION])
            mask = np.concatenate([mask, np.ones((3, 1), np.int64)], 1)


@pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
@pytest.mark.parametrize("dialect", ["ort", "portable"])
def test_genai_shares_its_cache_and_gets_the_last_logit(
    dialect: str, left: bool, checkpoint: Path, tmp_path: Path
) -> None:
    program = decoder(LLAMA)
    export_folder(program, tmp_path / "e", layout="genai", dialect=dialect, companions=Companions(checkpoint))
    session = start(tmp_path / "e" / "model.onnx")
    outputs = [o.name for o in session.get_outputs()]
    caches = {
        i.name: np.zeros((3, i.shape[1], 20, i.shape[3]), np.float32)
        for i in session.get_inputs()
        if i.name.startswith("past_key_values.")
    }
    ids, mask = _padded(left)
    for step in range(3):
        results = dict(
            zip(outputs, session.run(None, {"input_ids": ids, "attention_mask": mask, **caches}), strict=True)
        )
        logits = results.pop("logits")
        assert logits.shape == (3, 1, 48)
        for row in range(3):
            want = _expected(program, row, step)[-1]
            assert np.abs(logits[row, 0] - want).max() <= close_enough(want)
        caches = {n.replace("present.", "past_key_values."): v for n, v in results.items()}
        ids = np.array([[row[step]] for row in CONTINUATION])
        mask = np.concatenate([mask, np.ones((3, 1), np.int64)], 1)


def test_the_genai_configuration_describes_the_model(checkpoint: Path, tmp_path: Path) -> None:
    export_folder(decoder(LLAMA), tmp_path / "e", layout="genai", companions=Companions(checkpoint))
    model = json.loads((tmp_path / "e" / "genai_config.json").read_text())["model"]
    assert (model["vocab_size"], model["context_length"]) == (48, 64)
    assert (model["bos_token_id"], model["eos_token_id"], model["pad_token_id"]) == (1, [2], 2)
    sizes = {k: v for k, v in model["decoder"].items() if isinstance(v, int)}
    assert sizes == {
        "head_size": 16,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
    }
    assert (tmp_path / "e" / model["decoder"]["filename"]).is_file()
    assert (tmp_path / "e" / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    ("defaults", "search"),
    [
        (None, {"do_sample": False}),
        ({"temperature": 0.0}, {"do_sample": False}),
        ({"temperature": 0.0, "repetition_penalty": 1.2}, {"do_sample": False, "repetition_penalty": 1.2}),
        (
            {"temperature": 0.6, "top_p": 0.9, "top_k": 50, "typical_p": 1.0},
            {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 50},
        ),
    ],
)
def test_genai_generates_by_the_settings(
    defaults: dict[str, Any] | None, search: dict[str, Any], checkpoint: Path, tmp_path: Path
) -> None:
    (checkpoint / "generation_config.json").write_text("{}")
    companions = Companions(checkpoint, '{"top_k": 3}')
    export_folder(decoder(LLAMA), tmp_path / "e", layout="genai", companions=companions, defaults=defaults)
    found = json.loads((tmp_path / "e" / "genai_config.json").read_text())["search"]
    assert found == {"max_length": 64, "past_present_share_buffer": True, **search}
    assert (tmp_path / "e" / "generation_config.json").read_text() == '{"top_k": 3}'


def test_genai_does_not_take_layers_that_differ(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="layers all have the same heads"):
        export_folder(decoder(MODELS["mixed-heads"]), tmp_path / "e", layout="genai", companions=Companions(checkpoint))
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("dialect", ["ort", "portable"])
def test_the_plain_layout_explains_its_inputs(dialect: str, tmp_path: Path) -> None:
    program = decoder(LLAMA)
    export_folder(program, tmp_path / "e", dialect=dialect)
    session = start(tmp_path / "e" / "model.onnx")
    note = (tmp_path / "e" / "README.txt").read_text()
    for argument in [*session.get_inputs(), *session.get_outputs()]:
        assert f"  {argument.name}  " in note
    assert sorted(p.name for p in (tmp_path / "e").iterdir()) == ["README.txt", "model.onnx", "model.onnx.data"]


def test_bad_arguments_are_named(checkpoint: Path, tmp_path: Path) -> None:
    program = decoder(LLAMA)
    with pytest.raises(UserError, match="layout is 'vllm'; it must be one of plain, genai, optimum"):
        export_folder(program, tmp_path / "e", layout="vllm")
    with pytest.raises(UserError, match="the genai layout needs the checkpoint's tokenizer"):
        export_folder(program, tmp_path / "e", layout="genai")
    function = Program("test")
    function.graphs["forward"] = program.graphs["decode"]
    with pytest.raises(UserError, match="takes language models only; 'test' has no graph 'prefill'"):
        export_folder(function, tmp_path / "e", layout="optimum", companions=Companions(checkpoint))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("keep")
    with pytest.raises(ArtifactError, match="was not written by this command"):
        export_folder(program, tmp_path / "mine")
