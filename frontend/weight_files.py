"""The files of weights in a checkpoint directory: which are the model's, and which tensor is where."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast

from graphwright.frontend.errors import CheckpointError
from graphwright.ir import StoredFile, notify
from graphwright.ir.files import TABLES, read_text
from graphwright.ir.weights import stored_tensors

SINGLE = "model.safetensors"
PRECEDENCE = (SINGLE, f"{SINGLE}.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where transformers looks for a model's weights, one after another (`_get_resolved_checkpoint_files`)."""

CHOSEN = "transformers_weights"
"""The setting in config.json that names another file."""


def stored_weights(directory: Path, settings: Mapping[str, Any]) -> dict[str, StoredFile]:
    """Every tensor of the checkpoint by its name in the files that transformers would take; `settings` of config.json.

    A notice says what was taken where there are several. Raises `CheckpointError` where files are missing, or an index
    is damaged, `WeightError` where a file of weights is.
    """
    there = [name for name in PRECEDENCE if (directory / name).is_file()]
    chosen: Any = settings.get(CHOSEN)
    if chosen is not None:
        if not isinstance(chosen, str) or not chosen.endswith((".safetensors", ".safetensors.index.json")):
            raise CheckpointError(f"{directory / 'config.json'}: '{CHOSEN}' is {chosen!r}, expected a safetensors file")
        _require_inside(directory, directory / "config.json", chosen)
        there = [chosen, *(name for name in there if name != chosen)]
    if not there:
        others = sorted(file.name for suffix in (".safetensors", ".bin") for file in directory.glob(f"*{suffix}"))
        found = f"; there is {', '.join(others[:3])}" if others else ""
        raise CheckpointError(f"{directory}: no weights: none of {', '.join(PRECEDENCE)} is there{found}")
    taken, *left = there
    if left:
        verb = "is" if len(left) == 1 else "are"
        notify(f"{directory}: the weights are {taken}, as transformers takes them; {', '.join(left)} {verb} not read")
    if taken.endswith(".json"):
        return _sharded(directory, taken)
    return _tensors(directory / taken)


def _tensors(file: Path) -> dict[str, StoredFile]:
    return stored_tensors(str(file.absolute()))


def _sharded(directory: Path, name: str) -> dict[str, StoredFile]:
    """All tensors of the shards that an index names; where it says that a tensor is has no effect in transformers."""
    index = directory / name
    mapping: Any = read_json(index).get("weight_map")
    if not isinstance(mapping, Mapping) or not all(
        isinstance(v, str) for v in cast("Mapping[str, Any]", mapping).values()
    ):
        raise CheckpointError(f"{index}: 'weight_map' is not a table from tensor names to files")
    found: dict[str, StoredFile] = {}
    twice: list[str] = []
    for shard in sorted(set(cast("Mapping[str, str]", mapping).values())):
        _require_inside(directory, index, shard)
        tensors = _tensors(directory / shard)
        twice += [key for key in tensors if key in found]
        found |= tensors
    if twice:
        last = found[twice[0]].path
        notify(f"{index}: {len(twice)} tensors are in several shards ({twice[0]}, …); the last counts: {last}")
    return found


def _require_inside(directory: Path, file: Path, name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise CheckpointError(f"{file}: '{name}' lies outside the directory {directory}")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a file; raises `CheckpointError` if there is none."""
    try:
        content: Any = json.loads(read_text(file, TABLES))
    except FileNotFoundError:
        raise CheckpointError(f"{file}: the file is missing") from None
    except RecursionError:
        raise CheckpointError(f"{file}: not readable as JSON (nested too deeply)") from None
    except OSError as problem:
        raise CheckpointError(f"{file}: cannot be read: {problem.strerror}") from None
    except ValueError as problem:
        raise CheckpointError(f"{file}: not readable as JSON ({problem})") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{file}: expected a JSON object")
    return cast("dict[str, Any]", content)
