"""Tokenizers and templates in every form that checkpoints have: the same ids and chats as by transformers."""

import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

from graphwright.backends.assets import asset_files
from graphwright.errors import UsageError
from graphwright.runtime import ArtifactError, open_artifact
from graphwright.runtime.chat import ChatTemplate
from graphwright.runtime.notices import Notice
from graphwright.runtime.tokenizer_file import read_tokenizer
from graphwright.sources.text_assets import text_assets
from tests import pretrained
from tests.runtime import tokenizer_files
from tests.runtime.program import TinyDecoder, write_artifact

TOKENIZER = tokenizer_files.byte_level()
MODEL = json.loads(TOKENIZER)["model"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}{% elif m.content is not defined %}(none)"
    "{% else %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}"
    "{% if m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if tools %}{{ tools | tojson }}{% endif %}{{ eos_token }}{{ image_token }}{{ pad_token }}"
)
MESSAGES: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "hello <s> w"}]},
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "clock"}}], "name": None},
    {"role": "tool", "content": "€ <|im_end|>", "reasoning": "é"},
]
TOOLS = [{"type": "function", "function": {"name": "clock", "description": "<time>"}}]
TEXTS = ["hello wo€!", "<s>a<|im_start|> user<|im_end|>\n", "<image> <extra>  </s>", ""]


def added(content: str, **parts: bool) -> dict[str, Any]:
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    return {"content": content, **flags, **parts}


OBJECT = {"__type": "AddedToken", **added("<s>", rstrip=True)}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
DECODER = {"0": added("<unk>"), "1": added("<s>"), "2": added("</s>")}
IM = {"267": added("<|im_start|>"), "268": added("<|im_end|>", special=False)}
TEMPLATED = FAST | {"chat_template": TEMPLATE}
NAMED = [{"name": "default", "template": TEMPLATE}, {"name": "tool_use", "template": "tools: " + TEMPLATE}]

FORMS: dict[str, dict[str, Any]] = {
    "plain": {"tokenizer_config.json": TEMPLATED},
    "tokens of the configuration": {"tokenizer_config.json": TEMPLATED | {"added_tokens_decoder": DECODER | IM}},
    "added_tokens.json": {
        "tokenizer_config.json": TEMPLATED,
        "added_tokens.json": {"<|im_start|>": 267, "<|im_end|>": 268},
    },
    "special_tokens_map.json": {
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE},
        "special_tokens_map.json": {"bos_token": added("<s>"), "eos_token": "</s>", "pad_token": "<pad>"},
    },
    "a token that only has a name": {"tokenizer_config.json": TEMPLATED | {"pad_token": "<pad>"}},
    "named tokens as objects": {"tokenizer_config.json": TEMPLATED | {"bos_token": OBJECT}},
    "extra tokens in a list": {
        "tokenizer_config.json": TEMPLATED | {"extra_special_tokens": ["<extra>", "<|im_start|>"]}
    },
    "additional tokens": {"tokenizer_config.json": TEMPLATED | {"additional_special_tokens": ["<extra>"]}},
    "extra tokens by name": {
        "tokenizer_config.json": TEMPLATED | {"extra_special_tokens": {"image_token": "<image>"}}
    },
    "a token of the model": {"tokenizer_config.json": TEMPLATED | {"image_token": "<image>"}},
    "begin and end asked for": {"tokenizer_config.json": TEMPLATED | {"add_bos_token": True, "add_eos_token": True}},
    "a template of its own": {"tokenizer_config.json": TEMPLATED, "chat_template.jinja": "own: " + TEMPLATE},
    "templates in a list": {"tokenizer_config.json": FAST | {"chat_template": NAMED}},
    "more templates": {
        "tokenizer_config.json": FAST,
        "chat_template.jinja": TEMPLATE,
        "additional_chat_templates/tool_use.jinja": "tools: " + TEMPLATE,
        "additional_chat_templates/rag.jinja": "rag",
    },
    "GPT-2's files": {
        "tokenizer.json": None,
        "config.json": {"model_type": "gpt2"},
        "tokenizer_config.json": {"tokenizer_class": "GPT2Tokenizer", "chat_template": TEMPLATE, "bos_token": "<s>"},
        "vocab.json": MODEL["vocab"],
        "merges.txt": "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in MODEL["merges"]),
    },
    "Qwen2's files": {
        "tokenizer.json": None,
        "config.json": {"model_type": "qwen2"},
        "tokenizer_config.json": {
            "tokenizer_class": "Qwen2Tokenizer",
            "chat_template": TEMPLATE,
            "added_tokens_decoder": IM,
            "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        },
        "vocab.json": MODEL["vocab"],
        "merges.txt": "\n".join(" ".join(pair) for pair in MODEL["merges"]),
    },
}  # fmt: skip


def checkpoint(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in ({"tokenizer.json": TOKENIZER, "config.json": {"model_type": "llama"}} | files).items():
        if content is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_the_same_as_by_transformers(form: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path / "checkpoint", FORMS[form])
    expected = pretrained.tokenizer(folder)
    with text_assets(folder) as assets:
        assert assets is not None
        tokenizer = read_tokenizer(assets)
        files = {path.name: path.read_text(encoding="utf-8") for path in asset_files(assets)}
    assert tokenizer is not None
    template = ChatTemplate.from_artifact(open_artifact(write_artifact(tmp_path / "a", TinyDecoder(), files=files)))
    assert template is not None
    for tools in (None, TOOLS):
        chat = expected.apply_chat_template(MESSAGES, tools=tools, add_generation_prompt=True, tokenize=False)
        assert template.render(MESSAGES, tools=tools) == chat
        ids = expected.apply_chat_template(MESSAGES, tools=tools, add_generation_prompt=True)["input_ids"]
        assert tokenizer.encode(chat, special_tokens=False) == ids
    for text in TEXTS:
        ids = expected(text)["input_ids"]
        assert tokenizer.encode(text, special_tokens=True) == ids
        assert tokenizer.decode(ids) == expected.decode(ids, skip_special_tokens=True)


def test_a_template_that_only_a_processor_names(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, {"tokenizer_config.json": FAST, "chat_template.json": {"chat_template": TEMPLATE}})
    with text_assets(folder) as assets:
        assert assets is not None
        assert json.loads((assets / "tokenizer_config.json").read_text())["chat_template"] == TEMPLATE


def test_what_is_complete_goes_along_byte_for_byte(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, {"tokenizer_config.json": TEMPLATED, "generation_config.json": "{}"})
    before = {path.name: path.read_bytes() for path in asset_files(folder)}
    with text_assets(folder) as assets:
        assert {path.name: path.read_bytes() for path in asset_files(assets)} == before
    assert "generation_config.json" in before


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_a_broken_tokenizer(text: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, {"tokenizer.json": text})
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is not a tokenizer: "), text_assets(folder):
        pass


@pytest.mark.parametrize("content", ["not json", "[]", {"added_tokens_decoder": {"5": 7}}, {"bos_token": 3}])
def test_a_broken_configuration(content: object, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, {"tokenizer_config.json": content})
    with pytest.raises(UsageError, match=r"transformers cannot read its tokenizer: ") as caught, text_assets(folder):
        pass
    assert "\n" not in str(caught.value)


def test_no_tokenizer_at_all(tmp_path: Path) -> None:
    with text_assets(checkpoint(tmp_path, {"tokenizer.json": None})) as assets:
        assert assets == tmp_path
    with text_assets(None) as assets:
        assert assets is None


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"tokenizer.model": "no sentencepiece"}, "tokenizer.model"),
        ({"vocab.json": "{", "merges.txt": ""}, "vocab.json, merges.txt"),
        ({"config.json": {"model_type": "t5"}, "tokenizer_config.json": {"tokenizer_class": "ByT5Tokenizer"}},
         "tokenizer_config.json"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_said(files: dict[str, Any], named: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, {"tokenizer.json": None} | files)
    with warnings.catch_warnings(record=True, action="always") as noticed, text_assets(folder) as assets:
        assert assets is not None
        assert read_tokenizer(assets) is None
    (notice,) = [str(each.message) for each in noticed if each.category is Notice]
    assert notice.startswith(f"{folder} has no tokenizer.json, and none can be made of {named} (")
    assert "\n" not in notice


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"chat_template.jinja": "{% for %}"}, "chat_template.jinja: the chat template is not valid: "),
        (
            {"tokenizer_config.json": FAST | {"chat_template": "{% if"}},
            "tokenizer_config.json: the chat template is not ",
        ),
        (
            {"tokenizer_config.json": FAST | {"chat_template": [*NAMED, {"name": "rag", "template": "{{ 1 +"}]}},
            "tokenizer_config.json: the chat template is not valid: ",
        ),
        (
            {"tokenizer_config.json": FAST, "chat_template.json": {"chat_template": "{{"}},
            "tokenizer_config.json: the chat template is not valid: ",
        ),
    ],
)
def test_a_template_that_is_no_jinja_is_said(files: dict[str, Any], place: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, files)
    with warnings.catch_warnings(record=True, action="always") as noticed, text_assets(folder) as assets:
        assert assets is not None
    (notice,) = [str(each.message) for each in noticed if each.category is Notice]
    assert notice.startswith(f"{folder}/{place}")
    assert notice.endswith("the model takes prompts, not chats, until the template is mended")


def test_code_of_a_checkpoint_neither_runs_nor_is_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    files = {
        "tokenizer.json": None,
        "tokenizer_config.json": {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Mine", None]}},
        "config.json": {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}},
        "mine.py": f"open({str(marker)!r}, 'w').close()",
    }
    typed = io.StringIO("y\ny\n")
    monkeypatch.setattr("sys.stdin", typed)
    folder = checkpoint(tmp_path / "checkpoint", files)
    with pytest.warns(Notice, match=r"none can be made of"), text_assets(folder) as assets:
        assert read_tokenizer(assets) is None
    assert not marker.exists()
    assert typed.tell() == 0


def holes(file: Path, size: int = 1 << 42) -> None:
    with file.open("wb") as opened:
        opened.truncate(size)


@pytest.mark.parametrize("name", ["vocab.json", "chat_template.jinja", "special_tokens_map.json", "tool.jinja"])
def test_a_file_of_holes_is_not_copied(name: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, {"tokenizer_config.json": FAST, "additional_chat_templates/a.jinja": ""})
    file = folder / ("additional_chat_templates" if name == "tool.jinja" else "") / name
    holes(file)
    with (
        pytest.raises(UsageError, match=rf"{re.escape(str(file))} cannot be read: it has more than"),
        text_assets(folder),
    ):
        pass


def test_what_no_tokenizer_needs_is_not_read(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, {"tokenizer_config.json": FAST})
    for name in ("huge.json", "huge.jinja", "model.safetensors.index.json", "model.safetensors"):
        holes(folder / name, 1 << 35)
    with text_assets(folder) as assets:
        assert assets is not None
        assert not list(assets.glob("huge*")) + list(assets.glob("model*"))


def test_many_files_together_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphwright.sources.text_assets.TABLES", 1 << 20)
    folder = checkpoint(tmp_path, {"tokenizer_config.json": FAST, "additional_chat_templates/a.jinja": ""})
    for name in "bcd":
        (folder / "additional_chat_templates" / f"{name}.jinja").write_text("x" * 400_000)
    with pytest.raises(UsageError, match=r"have more than 1 MiB together$"), text_assets(folder):
        pass


@pytest.mark.parametrize("content", ["[]", "{", "3", "[" * 100_000, "\udcff"])
def test_a_processors_template_file_that_is_no_object(content: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, {"tokenizer_config.json": FAST})
    (folder / "chat_template.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=r"chat_template\.json is no JSON object$"), text_assets(folder):
        pass


def test_a_template_that_is_no_unicode(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, {"tokenizer_config.json": FAST, "chat_template.json": '{"chat_template": "\\ud800"}'})
    with pytest.raises(UsageError, match=r"is no Unicode text$"), text_assets(folder):
        pass


def test_a_panic_of_the_tokenizers_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def panics(*_: object, **__: object) -> None:
        raise type("PanicException", (BaseException,), {})("index out of bounds")

    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.from_pretrained", panics)
    folder = checkpoint(tmp_path, {"tokenizer_config.json": FAST})
    with pytest.raises(UsageError, match=r"cannot read its tokenizer: index out of bounds$"), text_assets(folder):
        pass
