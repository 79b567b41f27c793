"""The safetensors files of a checkpoint directory: which tensor is where, from headers alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from graphwright.frontend.errors import CheckpointError
from graphwright.ir import StoredFile, WeightError
from graphwright.ir.files import TABLES, read_text
from graphwright.ir.weights import safetensors_index

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def stored_weights(directory: Path) -> dict[str, StoredFile]:
    """Every tensor of the checkpoint by its name in the files.

    Raises `CheckpointError` where files are missing or contradict the index, `WeightError` where one is cut short.
    """
    if (directory / INDEX).is_file():
        return _sharded(directory)
    if (directory / SINGLE).is_file():
        return _tensors(directory / SINGLE)
    if any(directory.glob("*.bin")):
        raise CheckpointError(
            f"{directory}: its weights are pickled (.bin), which can run code; convert to safetensors"
        )
    raise CheckpointError(f"{directory}: neither {SINGLE} nor {INDEX} is there")


def _tensors(file: Path) -> dict[str, StoredFile]:
    path = str(file.absolute())
    return {key: StoredFile(path, key, type) for key, type in safetensors_index(path).items()}


def _sharded(directory: Path) -> dict[str, StoredFile]:
    index = read_json(directory / INDEX)
    mapping: Any = index.get("weight_map")
    if not isinstance(mapping, Mapping) or not all(
        isinstance(v, str) for v in cast("Mapping[str, Any]", mapping).values()
    ):
        raise CheckpointError(f"{directory / INDEX}: 'weight_map' is not a table from tensor names to files")
    weight_map = cast("Mapping[str, str]", mapping)
    shards: dict[str, dict[str, StoredFile]] = {}
    for name in dict.fromkeys(weight_map.values()):
        if name in ("", "..") or Path(name).name != name:
            raise CheckpointError(f"{directory / INDEX}: shard '{name}' lies outside the directory")
        shards[name] = _tensors(directory / name)
    for key, name in weight_map.items():
        if key not in shards[name]:
            raise WeightError(f"{directory / name}: there is no tensor '{key}', which {INDEX} promises")
    return {key: shards[name][key] for key, name in weight_map.items()}


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file; raises `CheckpointError` if there is none."""
    try:
        content: Any = json.loads(read_text(file, TABLES))
    except FileNotFoundError:
        raise CheckpointError(f"{file}: the file is missing") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise CheckpointError(f"{file}: not readable as JSON ({problem})") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected a JSON object")
    return cast("dict[str, Any]", content)
