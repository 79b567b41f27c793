"""The tokenizer, chat templates and configuration of a checkpoint, in the one form that the runtime reads.

Checkpoints hold them in many forms, which the transformers library knows: tokens in `added_tokens.json` or
`tokenizer_config.json`, names of special tokens in `special_tokens_map.json`, templates in a folder, vocabularies of
other libraries. It reads them here, once, so that an artifact has a complete `tokenizer.json` and one
`tokenizer_config.json`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from graphwright.errors import UsageError
from graphwright.runtime.errors import ArtifactError, ChatTemplateError
from graphwright.runtime.notices import notify
from graphwright.runtime.tokenizer_file import TOKENIZER_FILE, read_tokenizer
from graphwright.temporary import temporary_folder

_CONFIG_FILE = "tokenizer_config.json"
_TEMPLATE_FILE = "chat_template.jinja"
_PROCESSOR_TEMPLATE_FILE = "chat_template.json"
_VOCABULARIES = (
    *("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
    *("source.spm", "tiktoken.model", "tekken.json"),
)
"""What a tokenizer is made from where there is no `tokenizer.json`."""
_MORE = ("added_tokens.json", "special_tokens_map.json", _CONFIG_FILE, _PROCESSOR_TEMPLATE_FILE)
_TEMPLATES = "additional_chat_templates"


@contextmanager
def text_assets(folder: str | Path | None) -> Generator[Path | None]:
    """A folder with the assets of the checkpoint's, for the duration of the body; None without one.

    Where no tokenizer can be made of what is there, or the chat template is not valid, a notice says so. Raises
    UsageError where it is no folder, and for a configuration that transformers refuses; ArtifactError for a
    `tokenizer.json` that is none.
    """
    if folder is None:
        yield None
        return
    source = Path(folder)
    if not source.is_dir():
        raise UsageError(f"{folder} is not a folder; name the checkpoint's folder")
    with _brought_together(source) as assets:
        _try_template(assets, source)
        yield assets


def _try_template(assets: Path, source: Path) -> None:
    """The first chat would be late to hear of it; a model without chats is of use still."""
    from graphwright.runtime.chat import ChatTemplate

    try:
        ChatTemplate.from_folder(assets, str(source))
    except (ArtifactError, ChatTemplateError) as error:
        notify(f"{error}: the model takes prompts, not chats, until the template is mended")


@contextmanager
def _brought_together(source: Path) -> Generator[Path]:
    complete = read_tokenizer(source) is not None
    named = [name for name in (*_VOCABULARIES, *_MORE) if (source / name).is_file()]
    if not any(name in _MORE for name in named) and not (source / _TEMPLATES).is_dir() and (complete or not named):
        yield source
        return
    with temporary_folder() as target:
        for path in source.iterdir():
            if path.is_file() and path.suffix in (".json", ".jinja") and path.name != "model.safetensors.index.json":
                shutil.copyfile(path, target / path.name)
        try:
            tokenizer = _read(source, complete)
        except Exception as error:
            # Whatever transformers, or a library that it needs for the form at hand, finds wrong.
            problem = " ".join(str(error).split())[:200]
            if complete:
                raise UsageError(f"{source}: transformers cannot read its tokenizer: {problem}") from None
            notify(_without_text(source, named, problem))
            yield target
            return
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            notify(_without_text(source, named, "it is Python code"))
            yield target
            return
        _write_tokenizer(backend.to_str(), target / TOKENIZER_FILE)
        _write_configuration(tokenizer, target)
        read_tokenizer(target)
        yield target


def _read(folder: Path, complete: bool) -> Any:
    import transformers
    from transformers.utils import logging

    # A tokenizer.json is complete in itself. Classes of single models, which AutoTokenizer takes, would build parts of
    # it anew from what they hold to be right for the model.
    kind: Any = transformers.PreTrainedTokenizerFast if complete else transformers.AutoTokenizer
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return kind.from_pretrained(str(folder), local_files_only=True)
    finally:
        logging.set_verbosity(verbosity)


def _without_text(folder: Path, named: list[str], problem: str) -> str:
    files = ", ".join(name for name in named if name in _VOCABULARIES) or _CONFIG_FILE
    return (
        f"{folder} has no {TOKENIZER_FILE}, and none can be made of {files} ({problem}): the model takes token ids, "
        f"not text; install what is missing, or put a {TOKENIZER_FILE} there"
    )


def _write_tokenizer(text: str, file: Path) -> None:
    """Only where it differs: a file that is complete goes along byte for byte."""
    import tokenizers

    if file.is_file():
        before = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
        after = tokenizers.Tokenizer.from_str(text)
        if _rules(before) == _rules(after) and _around(before) == _around(after):
            return
    file.write_text(text, encoding="utf-8")


def _rules(tokenizer: Any) -> dict[str, Any]:
    """What decides on the ids of a text; how a training run cut and padded its texts is no part of it."""
    rules: dict[str, Any] = json.loads(tokenizer.to_str())
    return {key: value for key, value in rules.items() if key not in ("truncation", "padding", "post_processor")}


def _around(tokenizer: Any) -> list[int]:
    """What is put around a text. transformers writes down that it is nothing, where a file leaves it out."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer.encode("", add_special_tokens=True).ids


def _write_configuration(tokenizer: Any, folder: Path) -> None:
    """Names of special tokens and the templates, as transformers found them."""
    file = folder / _CONFIG_FILE
    before: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    after = dict(before)
    for name, token in cast("dict[str, Any]", tokenizer.special_tokens_map).items():
        given = before.get(name)
        if (given.get("content") if isinstance(given, dict) else given) != str(token):  # pyright: ignore[reportUnknownMemberType] - JSON
            after[name] = str(token)
    template = tokenizer.chat_template
    processor = folder / _PROCESSOR_TEMPLATE_FILE
    if template is None and processor.is_file():
        template = json.loads(processor.read_text(encoding="utf-8")).get("chat_template")
    if isinstance(template, dict):
        named = cast("dict[str, str]", template)
        after["chat_template"] = [{"name": name, "template": source} for name, source in sorted(named.items())]
        (folder / _TEMPLATE_FILE).unlink(missing_ok=True)
    elif template is not None and not (folder / _TEMPLATE_FILE).is_file():
        after["chat_template"] = template
    if after != before:
        file.write_text(json.dumps(after, indent=2, ensure_ascii=False), encoding="utf-8")
