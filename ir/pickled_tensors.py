"""Tensors that `torch.save` wrote. No code is run: `weights_only` builds tensors and plain containers alone."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from graphwright.ir.errors import UnsupportedError, WeightError
from graphwright.ir.lazy import torch
from graphwright.ir.torch_types import dtype_of
from graphwright.ir.types import TensorType, tensor

if TYPE_CHECKING:
    from torch import Tensor

PICKLED_SUFFIXES = (".bin", ".pt", ".pth")


@dataclass(frozen=True)
class PickledTensors:
    """The tensors of a file by their names; those of the zip format are mapped, those of the older one are read."""

    arrays: Mapping[str, Tensor]
    tensors: Mapping[str, TensorType]

    def get_tensor(self, name: str) -> Tensor:
        # Views of one storage may be stored; readers of a weight count on its elements lying in order.
        return self.arrays[name].contiguous()


def open_pickled(path: str) -> PickledTensors:
    """Raises `WeightError` for a file that is damaged, asks for code, or is not a table of plain tensors."""
    arrays: dict[str, Tensor] = {}
    tensors: dict[str, TensorType] = {}
    for name, value in _table(path).items():
        if not isinstance(name, str):
            raise WeightError(f"{path}: a tensor is named {name!r}, expected text")
        if not isinstance(value, torch.Tensor):
            raise WeightError(
                f"{path}: '{name}' is not a tensor but a {type(value).__name__}; save the model's state_dict() alone"
            )
        if value.layout is not torch.strided or value.is_meta or value.is_quantized:
            raise WeightError(f"{path}: tensor '{name}' is not a plain dense one; save it as such")
        array = value.detach()
        try:
            tensors[name] = tensor(dtype_of(array), *array.shape)
        except UnsupportedError as problem:
            raise WeightError(f"{path}: tensor '{name}': {problem}") from None
        arrays[name] = array
    return PickledTensors(arrays, tensors)


def _table(path: str) -> Mapping[Any, Any]:
    zipped = zipfile.is_zipfile(path)
    try:
        # Compressed ones would be mapped as they lie there.
        if zipped and any(entry.compress_type for entry in zipfile.ZipFile(path).infolist()):
            raise WeightError(f"{path}: its tensors are compressed; save them with torch.save")
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped or None)
    except WeightError:
        raise
    except Exception as problem:
        if isinstance(problem, pickle.UnpicklingError) and "GLOBAL" in str(problem):
            raise WeightError(
                f"{path}: to read it would run code ({_reason(problem)}); where you trust it, load it and save the "
                f"model's state_dict() as safetensors"
            ) from None
        raise WeightError(f"{path}: not a file of torch.save, or damaged ({_reason(problem)})") from None
    if not isinstance(loaded, Mapping):
        raise WeightError(f"{path}: it holds a {type(loaded).__name__}, expected tensors by their names")
    return cast("Mapping[Any, Any]", loaded)


def _reason(problem: Exception) -> str:
    """The sentence of torch's message that says what is the matter."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    found = next((line for line in lines if "GLOBAL" in line or "Unpickler error" in line), None)
    return (found or (lines[0] if lines else type(problem).__name__)).split(". ")[0]
