"""The tokenizer, chat templates and configuration of a checkpoint, in the one form that the runtime reads.

Checkpoints hold them in many forms, which the transformers library knows: tokens in `added_tokens.json` or
`tokenizer_config.json`, names of special tokens in `special_tokens_map.json`, templates in a folder, vocabularies of
other libraries. It reads them here, once, so that an artifact has a complete `tokenizer.json` and one
`tokenizer_config.json`.
"""

import json
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from graphwright.backends.assets import ASSETS
from graphwright.errors import UsageError
from graphwright.files.temporary_folders import temporary_folder
from graphwright.runtime.errors import ArtifactError, ChatTemplateError
from graphwright.runtime.files import TABLES, read_bytes, read_text
from graphwright.runtime.notices import notify
from graphwright.runtime.tokenizer import library_errors, without_report_of_panics
from graphwright.runtime.tokenizer_file import TOKENIZER_FILE, read_tokenizer

_CONFIG_FILE = "tokenizer_config.json"
_TEMPLATE_FILE = "chat_template.jinja"
_PROCESSOR_TEMPLATE_FILE = "chat_template.json"
_VOCABULARIES = (
    *("vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
    *("source.spm", "tiktoken.model", "tekken.json"),
)
"""What a tokenizer is made from where there is no `tokenizer.json`."""
_PARTS = (
    *("target.spm", "spm.model", "spm_char.model", "sentencepiece.model", "bpe.codes", "dict.txt", "byte_maps.json"),
    *("emoji.json", "entity_vocab.json", "normalizer.json", "prophetnet.tokenizer", "target_vocab.json"),
    *("vocab-src.json", "vocab-tgt.json", "word_pronunciation.json", "word_shape.json"),
)
"""What else tokenizer classes of transformers read, with other files or for single models."""
_VERSION = re.compile(r"tokenizer\.[0-9][0-9.]*\.json")
"""A `tokenizer.json` for some versions of transformers, which its configuration names."""
_MORE = ("added_tokens.json", "special_tokens_map.json", _CONFIG_FILE, _PROCESSOR_TEMPLATE_FILE)
_TEMPLATES = "additional_chat_templates"


@contextmanager
def text_assets(folder: str | Path | None) -> Generator[Path | None]:
    """A folder with the assets of the checkpoint's, for the duration of the body; None without one.

    Where no tokenizer can be made of what is there, or the chat template is not valid, a notice says so. Raises
    UsageError where it is not a folder, and for a configuration that transformers refuses; ArtifactError for a
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
        _copy(source, target)
        try:
            tokenizer = _read(target, complete)
        except UsageError as error:
            problem = " ".join(str(error).replace(str(target), str(source)).split())[:250]
            if complete:
                raise UsageError(f"{source}: {problem}") from None
            notify(_without_text(source, named, problem))
            yield target
            return
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            notify(_without_text(source, named, "it is Python code"))
            yield target
            return
        with library_errors(UsageError, f"{source}: its tokenizer cannot be converted"), without_report_of_panics():
            _write_tokenizer(backend.to_str(), target / TOKENIZER_FILE)
        _write_configuration(tokenizer, target, source)
        read_tokenizer(target)
        yield target


def _copy(source: Path, target: Path) -> None:
    """What a tokenizer is read from, and what goes along with a model; of a stranger's folder nothing else is read.

    Raises UsageError for what cannot be read, or is together larger than any tokenizer.
    """
    names = {*ASSETS, *_VOCABULARIES, *_PARTS, *_MORE}
    names |= {path.name for path in source.iterdir() if _VERSION.fullmatch(path.name)}
    templates = source / _TEMPLATES
    paths = [source / name for name in sorted(names)] + sorted(templates.glob("*.jinja"))
    if templates.is_dir():
        (target / _TEMPLATES).mkdir()
    left = TABLES
    for path in paths:
        if path.is_file():
            try:
                content = read_bytes(path, TABLES)
            except OSError as problem:
                raise UsageError(f"{path} cannot be read: {problem.strerror}") from None
            left -= len(content)
            if left < 0:
                raise UsageError(f"{source}: the files of its tokenizer have more than {TABLES >> 20} MiB together")
            (target / path.relative_to(source)).write_bytes(content)


def _read(folder: Path, complete: bool) -> Any:
    """Raises UsageError for whatever transformers, or a library that it needs for the form at hand, finds wrong."""
    import transformers
    from transformers.utils import logging

    # A tokenizer.json is complete in itself. Classes of single models, which AutoTokenizer takes, would build parts of
    # it anew from what they hold to be right for the model.
    kind: Any = transformers.PreTrainedTokenizerFast if complete else transformers.AutoTokenizer
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with (
            library_errors(UsageError, "transformers cannot read its tokenizer"),
            without_report_of_panics(),
        ):
            # Without a word on remote code, transformers would ask on the terminal whether to run the checkpoint's.
            return kind.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
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
        before = tokenizers.Tokenizer.from_str(read_text(file, TABLES))
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


def _write_configuration(tokenizer: Any, folder: Path, source: Path) -> None:
    """Names of special tokens and the templates, as transformers found them in `folder`, the copy of `source`."""
    file = folder / _CONFIG_FILE
    before = _json_object(file, source) if file.is_file() else {}
    after = dict(before)
    for name, token in cast("dict[str, Any]", tokenizer.special_tokens_map).items():
        given = before.get(name)
        if (given.get("content") if isinstance(given, dict) else given) != str(token):  # pyright: ignore[reportUnknownMemberType] - JSON
            after[name] = str(token)
    template = tokenizer.chat_template
    processor = folder / _PROCESSOR_TEMPLATE_FILE
    if template is None and processor.is_file():
        template = _json_object(processor, source).get("chat_template")
    if isinstance(template, dict):
        named = cast("dict[str, str]", template)
        after["chat_template"] = [{"name": name, "template": source} for name, source in sorted(named.items())]
        (folder / _TEMPLATE_FILE).unlink(missing_ok=True)
    elif template is not None and not (folder / _TEMPLATE_FILE).is_file():
        after["chat_template"] = template
    if after != before:
        try:
            file.write_text(json.dumps(after, indent=2, ensure_ascii=False), encoding="utf-8")
        except UnicodeEncodeError:
            raise UsageError(f"{source}: its tokenizer's configuration or template is no Unicode text") from None


def _json_object(file: Path, source: Path) -> dict[str, Any]:
    """The JSON object in the copy of a file of `source`, which an error names."""
    try:
        content: Any = json.loads(read_text(file, TABLES))
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise UsageError(f"{source / file.name} is no JSON object")
    return cast("dict[str, Any]", content)
