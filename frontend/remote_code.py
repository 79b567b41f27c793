"""Code that came with a checkpoint: never run, and what transformers has under the same type may be another model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from graphwright.frontend import hugging_face
from graphwright.frontend.errors import CheckpointError
from graphwright.frontend.hugging_face_inputs import saved_class
from graphwright.ir import UnsupportedError, notify
from graphwright.ir.files import SETTINGS, read_text

ADVICE = "load it in Python with trust_remote_code=True and pass the module"

SENTENCE_MODULES = "modules.json"
"""Where sentence-transformers lists what it runs one after another; the first is the model."""


def check_remote_code(config: Any, settings: Mapping[str, Any], directory: Path, build: Any, ignore: bool) -> None:
    """A notice where transformers' own class `build` stands for a model that came with code.

    Raises `UnsupportedError` where the checkpoint was saved from a class that transformers does not have under this
    model type, unless `ignore` says that its own will do.
    """
    file = directory / "config.json"
    code = _model_code(settings, file) | _sentence_code(directory)
    if not code:
        return
    saved = saved_class(settings)
    listed = ", ".join(f"{key}: {value}" for key, value in code.items())
    own = None if saved is None else hugging_face.class_named(saved)
    same = own is build and isinstance(config, build.config_class or ())
    if not same and not ignore:
        what = "a class that it does not name" if saved is None else f"'{saved}'"
        raise UnsupportedError(
            f"{file}: the model is {what}, code that came with the checkpoint ({listed}) and is never run; {ADVICE}, "
            f"or have it taken for {build.__name__} of transformers: --ignore-remote-code (ignore_remote_code=True)"
        )
    notify(
        f"{file}: the code that came with the checkpoint ({listed}) is not run; the model is {build.__name__} of "
        f"transformers {hugging_face.library().__version__}"
    )


def _model_code(settings: Mapping[str, Any], file: Path) -> dict[str, str]:
    """The entries of `auto_map` that a model is made by; those of tokenizers and processors are not for it."""
    entries: Any = settings.get("auto_map")
    if entries is None:
        return {}
    if not isinstance(entries, Mapping):
        raise CheckpointError(f"{file}: 'auto_map' is not a table from classes to code")
    table = cast("Mapping[str, Any]", entries)
    return {k: str(v) for k, v in table.items() if k == "AutoConfig" or k.startswith(("AutoModel", "AutoBackbone"))}


def _sentence_code(directory: Path) -> dict[str, str]:
    """Modules of a sentence-transformers folder that are not of that library."""
    return {
        f"{SENTENCE_MODULES} {position}": kind
        for position, kind in enumerate(sentence_modules(directory))
        if not kind.startswith("sentence_transformers.")
    }


def sentence_modules(directory: Path) -> list[str]:
    """The classes that a sentence-transformers folder runs one after another; none where it is no such folder."""
    file = directory / SENTENCE_MODULES
    if not file.exists():
        return []
    try:
        listed: Any = json.loads(read_text(file, SETTINGS))
        return [str(entry["type"]) for entry in listed]
    except OSError as error:
        raise CheckpointError(f"{file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(f"{file}: not a list of modules") from None


def notify_of_later_modules(directory: Path) -> None:
    """A notice of what sentence-transformers would do with the model's output."""
    later = [kind.rpartition(".")[2] for kind in sentence_modules(directory)[1:]]
    if later:
        notify(f"{directory / SENTENCE_MODULES}: {', '.join(later)} after the model is not part of what is compiled")
