"""Code that came with a checkpoint: never run, and never passed over without a word."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from graphwright.frontend import capture, hugging_face
from graphwright.frontend.hugging_face_inputs import model_class
from graphwright.frontend.remote_code import check_remote_code, notify_of_later_modules
from graphwright.frontend.weight_files import read_json
from graphwright.ir import Notice, UnsupportedError
from tests.frontend.test_checkpoint import edit_config, saved

MAP = {"AutoModelForCausalLM": "evil.Model", "AutoConfig": "evil.Config"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved(tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    return tmp_path


def examined(folder: Path, ignore: bool = False) -> list[str]:
    """What is said of the folder before it is captured."""
    settings = read_json(folder / "config.json")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Notice)
        config = hugging_face.read_config(folder, settings)
        check_remote_code(config, settings, folder, model_class(config, settings, folder), ignore)
        notify_of_later_modules(folder)
    return [str(w.message) for w in caught if w.category is Notice]


def test_code_is_not_run(folder: Path) -> None:
    edit_config(folder, auto_map=MAP)
    with pytest.warns(Notice, match=r"config\.json: the code that came with the checkpoint"):
        capture(folder)
    edit_config(folder, architectures=["Own"])
    with pytest.warns(Notice, match=r"config\.json: the code that came with the checkpoint"):
        capture(folder, ignore_remote_code=True)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("entries", [MAP, {"AutoModel": "evil.Model"}, {"AutoConfig": "evil.Config"}])
def test_a_class_that_transformers_has_is_taken_with_a_notice(folder: Path, entries: dict[str, str]) -> None:
    edit_config(folder, auto_map=entries)
    (told,) = examined(folder)
    assert told.startswith(f"{folder / 'config.json'}: the code that came with the checkpoint (")
    assert "evil." in told
    assert "is not run; the model is LlamaForCausalLM of transformers" in told


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architectures": ["BidirectionalLlama"], "auto_map": MAP}, "'BidirectionalLlama'"),
        ({"architectures": ["BidirectionalLlama"], "auto_map": {"AutoConfig": "evil.Config"}}, "'BidirectionalLlama'"),
        # A class of another model type, no class of a model, none at all.
        ({"architectures": ["GPT2LMHeadModel"], "auto_map": MAP}, "'GPT2LMHeadModel'"),
        ({"architectures": ["LlamaConfig"], "auto_map": MAP}, "'LlamaConfig'"),
        ({"architectures": None, "auto_map": MAP}, "a class that it does not name"),
    ],
)
def test_another_class_is_refused_unless_told_to_ignore_it(folder: Path, changes: dict[str, Any], named: str) -> None:
    edit_config(folder, **changes)
    with pytest.raises(UnsupportedError, match=rf"the model is {named}, code that came with .*--ignore-remote-code"):
        examined(folder)
    if changes["architectures"] != ["GPT2LMHeadModel"]:
        (told,) = examined(folder, ignore=True)
        assert "the model is LlamaForCausalLM of transformers" in told


def test_code_of_tokenizers_and_configurations_without_code_are_no_matter(folder: Path) -> None:
    edit_config(folder, auto_map={"AutoTokenizer": ["evil.Tokenizer", None], "AutoProcessor": "evil.Processor"})
    assert examined(folder) == []
    edit_config(folder, auto_map=None, architectures=["Unheard"])
    assert examined(folder) == []


def modules(folder: Path, *kinds: str) -> None:
    entries = [{"idx": i, "name": str(i), "path": "", "type": kind} for i, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(entries))


def test_sentence_transformers_folders(folder: Path) -> None:
    library = "sentence_transformers.models"
    modules(folder, f"{library}.Transformer", f"{library}.Pooling", f"{library}.Normalize")
    assert examined(folder) == [
        f"{folder / 'modules.json'}: Pooling, Normalize after the model is not part of what is compiled"
    ]
    modules(folder, "evil.Transformer")
    (told,) = examined(folder)
    assert "modules.json 0: evil.Transformer" in told
    edit_config(folder, architectures=["Unheard"])
    with pytest.raises(UnsupportedError, match=r"modules\.json 0: evil\.Transformer"):
        capture(folder)
