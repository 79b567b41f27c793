"""An adapter's folder: its settings, and its tensors by what they are.

    base_model.model.PATH.lora_A.weight             [r, in]; of a convolution [r, in, kernel...]
    base_model.model.PATH.lora_B.weight             [out, r], and lora_B.bias [out] with `lora_bias`
    base_model.model.PATH.lora_embedding_A, _B      [r, rows] and [width, r]
    base_model.model.PATH.lora_magnitude_vector     [out], of DoRA
    base_model.model.PATH.token_adapter.trainable_tokens_delta   [indices, width], rows that replace the embedding's
    base_model.model.NAME                           a weight that replaces the base's

Between a part and its ending the adapter's name may stand (lora_A.default.weight), and of a module that is wrapped the
base's own weights are called PATH.base_layer.weight.

Source: github.com/huggingface/peft, src/peft/utils/save_and_load.py (get_peft_model_state_dict).
"""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch

from graphwright.frontend.adapters.settings import Settings, read_settings
from graphwright.frontend.errors import CheckpointError
from graphwright.frontend.weight_files import read_json
from graphwright.ir import DType, StoredArray, StoredFile, WeightError
from graphwright.ir.weights import stored_tensors

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"
PREFIX = "base_model.model."
FLOATS = (DType.F16, DType.BF16, DType.F32, DType.F64)

_PART = re.compile(r"(?P<path>.+)\.(?P<part>lora_(?:embedding_)?[AB]|lora_magnitude_vector)(?P<rest>(?:\.[^.]+){0,2})")
_TOKENS = re.compile(r"(?P<path>.+)\.token_adapter\.trainable_tokens_(?P<part>delta|original)(?:\.(?P<name>[^.]+))?")
_SAVED = re.compile(r"(?P<path>.+)\.modules_to_save(?:\.(?P<name>[^.]+)(?=.*\.))?\.(?P<last>[^.].*)")
_ORIGINAL = re.compile(r".+\.original_module\..+")

Tensor = StoredFile | StoredArray


@dataclass
class LowRank:
    """The tensors of one place that a product of two matrices changes."""

    path: str
    parts: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    """By the names A, B, bias and magnitude."""
    is_embedding: bool = False

    def __getitem__(self, part: str) -> Tensor:
        return self.parts[part]

    def get(self, part: str) -> Tensor | None:
        return self.parts.get(part)


@dataclass
class Adapter:
    """An adapter as it lies in a folder. Paths are those of modules, names those of weights, both without a prefix."""

    folder: Path
    file: str
    settings: Settings
    low_rank: dict[str, LowRank]
    """By path. That of a wrapped parameter of a module ends in `.base_layer`, once for each that was wrapped later."""
    replaced: dict[str, Tensor]
    """By name: weights in place of the base's."""
    tokens: dict[str, Tensor]
    """By path: rows in place of some of an embedding's."""


def read_adapter(folder: Path) -> Adapter:
    """The adapter in a folder; no tensor is read from a safetensors file.

    Raises `CheckpointError` where a file is missing or damaged, `UnsupportedError` for an adapter that is not merged,
    and `WeightError` for tensors that make none.
    """
    file = folder / CONFIG
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: there is no such folder; an adapter is a folder with {CONFIG}")
    if not file.is_file():
        inner = sorted(path.parent for path in folder.glob(f"*/{CONFIG}"))
        hint = f"; {inner[0]} is one" if inner else ""
        raise CheckpointError(f"{folder}: not an adapter, as there is no {CONFIG}{hint}")
    settings = read_settings(file, read_json(file))
    path, tensors = _tensors(folder)
    adapter = Adapter(folder, path, settings, {}, {}, {})
    names = {_sort(adapter, key.removeprefix(PREFIX), tensor) for key, tensor in tensors.items()} - {None}
    if len(names) > 1:
        listed = ", ".join(sorted(name for name in names if name))
        raise WeightError(f"{path}: there are tensors of several adapters: {listed}; save them apart")
    if not tensors:
        raise WeightError(f"{path}: there are no tensors in it")
    for each in adapter.low_rank.values():
        _check_parts(adapter, each)
    return adapter


def _tensors(folder: Path) -> tuple[str, Mapping[str, Tensor]]:
    """The file's path, and its tensors by their keys."""
    stored, pickled = folder / WEIGHTS, folder / PICKLED
    if stored.is_file():
        path = str(stored.absolute())
        return path, {**stored_tensors(path)}
    if not pickled.is_file():
        raise CheckpointError(f"{folder}: the adapter's weights are missing: there is no {WEIGHTS}")
    try:
        content: Any = torch.load(pickled, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError) as problem:
        reason = str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
        raise CheckpointError(f"{pickled}: not readable as tensors alone ({reason})") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{pickled}: expected a table of tensors, found {type(content).__name__}")
    tensors: dict[str, Tensor] = {}
    for key, value in cast("dict[Any, Any]", content).items():
        if not isinstance(key, str) or type(value) is not torch.Tensor or value.layout is not torch.strided:
            raise CheckpointError(f"{pickled}: '{str(key)[:80]}' is not a plain tensor")
        tensors[key] = StoredArray.of(value.contiguous())
    return str(pickled.absolute()), tensors


def _sort(adapter: Adapter, key: str, tensor: Tensor) -> str | None:
    """Puts a tensor where it belongs, and returns the adapter's name that its key has, if any."""
    if not tensor.type.dtype.is_float or tensor.type.dtype not in FLOATS:
        raise WeightError(f"{adapter.file}: tensor '{key}' is {tensor.type}, expected floats")
    if (found := _PART.fullmatch(key)) is not None:
        return _sort_part(adapter, found, key, tensor)
    if (found := _TOKENS.fullmatch(key)) is not None:
        if found["part"] == "delta":  # the other is what the base had there
            adapter.tokens[found["path"]] = tensor
        return found["name"]
    if _ORIGINAL.fullmatch(key) is not None:  # the base's, of a module of which a copy was trained
        return None
    name = None
    if (found := _SAVED.fullmatch(key)) is not None:
        key, name = f"{found['path']}.{found['last']}", found["name"]
    key = key.replace(".token_adapter.base_layer.", ".").replace(".base_layer.", ".")
    known = adapter.replaced.setdefault(key, tensor)
    # What is resized and trained too is saved twice.
    if known is not tensor and not torch.equal(known.evaluate(), tensor.evaluate()):
        raise WeightError(f"{adapter.file}: there are two tensors for '{key}', and they differ")
    return name


def _sort_part(adapter: Adapter, found: re.Match[str], key: str, tensor: Tensor) -> str | None:
    part, rest = found["part"], found["rest"].split(".")[1:]
    is_embedding = "embedding" in part
    last = "weight"
    if not is_embedding and (part != "lora_magnitude_vector" or rest[-1:] == ["weight"]):
        last = rest.pop() if rest else ""
    kind = "magnitude" if part == "lora_magnitude_vector" else part[-1]
    if (kind, last) == ("B", "bias"):
        kind = "bias"
    elif last != "weight":
        rest.append(last)
    if len(rest) > 1 or (last != "weight" and kind != "bias"):
        raise WeightError(f"{adapter.file}: tensor '{key}' is none that LoRA has")
    each = adapter.low_rank.setdefault(found["path"], LowRank(found["path"]))
    if kind in each.parts:
        raise WeightError(f"{adapter.file}: there are two tensors {part} of '{each.path}'")
    each.parts[kind] = tensor
    each.is_embedding |= is_embedding
    return rest[0] if rest else None


def _check_parts(adapter: Adapter, each: LowRank) -> None:
    """Raises `WeightError` where a tensor of a place is missing, or does not fit the others or the settings."""
    settings, where = adapter.settings, f"{adapter.file}: '{each.path}'"
    for part, other in (("A", "B"), ("B", "A")):
        if part not in each.parts:
            raise WeightError(f"{where} has no lora_{part}" + (f", only a lora_{other}" if other in each.parts else ""))
    a, b = each["A"].type, each["B"].type
    if a.rank < 2 or b.rank < 2:
        raise WeightError(f"{where} has lora_A {a} and lora_B {b}: the file was written of parts of a model")
    if ("magnitude" in each.parts) is not settings.use_dora:
        found = "a" if "magnitude" in each.parts else "no"
        raise WeightError(f"{where} has {found} lora_magnitude_vector, but 'use_dora' is {settings.use_dora}")
    if ("bias" in each.parts) is not settings.lora_bias:
        found = "a" if "bias" in each.parts else "no"
        raise WeightError(f"{where} has {found} bias of lora_B, but 'lora_bias' is {settings.lora_bias}")
