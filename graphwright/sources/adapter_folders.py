"""Folders of adapters beside or instead of checkpoints, looked at without torch."""

import json
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from graphwright.errors import UsageError
from graphwright.files.temporary_folders import TemporaryFolder
from graphwright.runtime.files import SETTINGS, TABLES, read_bytes, read_text

CONFIG = "adapter_config.json"
MODEL_CONFIG = "config.json"
NAME_LENGTH = 120
NO_TOKENIZER = (CONFIG, MODEL_CONFIG, "generation_config.json", "README.md")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
TEMPLATES = "additional_chat_templates"
BESIDE_MODEL = (MODEL_CONFIG, "generation_config.json", "preprocessor_config.json")


def refuse_adapter_alone(folder: Path) -> None:
    """Raises UsageError for a folder that holds an adapter and no weights of a model, with what to do instead."""
    if not (folder / CONFIG).is_file():
        return
    weights = [*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json"), *folder.glob("*model*.bin")]
    if (folder / MODEL_CONFIG).is_file() and any(not path.name.startswith("adapter_") for path in weights):
        return
    base = _base_name(folder / CONFIG)
    of = f" of {base!r}" if base else ""
    raise UsageError(
        f"{folder} is an adapter{of}, not a model: give the folder of its base, "
        f"as in `graphwright compile BASE --adapter {folder}`"
    )


def _base_name(file: Path) -> str | None:
    try:
        content: Any = json.loads(read_text(file, SETTINGS))
    except (OSError, ValueError, RecursionError):
        return None
    name: Any = cast("dict[str, Any]", content).get("base_model_name_or_path") if isinstance(content, dict) else None
    return name[:NAME_LENGTH] if isinstance(name, str) and name else None


@dataclass(frozen=True)
class Assets:
    """A folder of the tokenizer of an adapter and the settings of its base, which lives as long as this object."""

    folder: Path


def adapted_assets(base: Path, adapter: Path) -> Assets | None:
    """The files that go along with a base and its adapter; None where they are the base's alone.

    An adapter that was trained with other tokens has a tokenizer of its own: all of it is taken, and nothing of the
    base's.
    """
    if not any((adapter / name).is_file() for name in TOKENIZERS):
        return None
    temporary = TemporaryFolder()
    assets = Assets(temporary.path)
    weakref.finalize(assets, temporary.remove)
    try:
        for path in adapter.iterdir():
            kept = path.suffix in (".json", ".jinja", ".txt", ".model") and path.name not in NO_TOKENIZER
            if kept and path.is_file() and not path.name.endswith(".index.json"):
                _copy(path, assets.folder)
        if (adapter / TEMPLATES).is_dir():
            (assets.folder / TEMPLATES).mkdir()
            for path in (adapter / TEMPLATES).glob("*.jinja"):
                _copy(path, assets.folder / TEMPLATES)
        for name in BESIDE_MODEL:
            if (base / name).is_file():
                _copy(base / name, assets.folder)
    except OSError as error:
        raise UsageError(f"{error.filename}: {error.strerror}") from None
    return assets


def _copy(file: Path, folder: Path) -> None:
    (folder / file.name).write_bytes(read_bytes(file, TABLES))
