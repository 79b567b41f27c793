"""Finished weights kept in a folder, so that a pass that was stopped goes on where it was.

Each weight's arrays are a safetensors file of their own, which appears whole or not at all. Its name and its metadata
hold a fingerprint of everything that the arrays depend on (graph, weights, tokens, method), so what belongs to another
model or other options is never taken; it stays beside.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphwright.ir import PassError, Program, TensorType, WeightError, print_graph
from graphwright.ir.atomic_file import write_atomically
from graphwright.ir.lazy import torch
from graphwright.ir.weights import Applied, StoredArray, StoredFile, WeightExpression, stored_tensors
from graphwright.passes.calibration.sites import calibration_graph

if TYPE_CHECKING:
    from torch import Tensor

Parts = Mapping[str, "StoredArray | StoredFile"]
"""The arrays of a finished weight, by name."""


class FinishedWeights:
    """The arrays of finished weights, in `folder` or, if that is empty, in memory only."""

    def __init__(self, folder: str, fingerprint: str) -> None:
        self._folder, self._fingerprint = Path(folder) if folder else None, fingerprint
        if self._folder is not None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise PassError(f"{folder}: finished weights cannot be kept there ({problem.strerror})") from None

    def find(self, weight: str, types: Mapping[str, TensorType]) -> Parts | None:
        """The arrays of a weight that was finished before, if it was. What is damaged counts as not finished."""
        if self._folder is None or not (path := self._path(self._folder, weight)).is_file():
            return None
        with suppress(WeightError):
            found = stored_tensors(str(path))
            if {name: stored.type for name, stored in found.items()} == types and _metadata(path) == self._mark(weight):
                return found
        return None

    def keep(self, weight: str, types: Mapping[str, TensorType], arrays: Mapping[str, Tensor]) -> Parts:
        """Takes the arrays of a weight that is finished, and gives them as they are stored from now on."""
        if self._folder is None:
            return {name: StoredArray(arrays[name], type) for name, type in types.items()}
        from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType] - partly untyped

        path = self._path(self._folder, weight)
        whole = {name: array.contiguous() for name, array in arrays.items()}
        try:
            write_atomically(path, lambda temporary: save_file(whole, temporary, self._mark(weight)))
        except OSError as problem:
            raise PassError(f"{path}: cannot be written ({problem.strerror})") from None
        return stored_tensors(str(path))

    def _path(self, folder: Path, weight: str) -> Path:
        readable = re.sub(r"[^\w.-]", "_", weight)[:100]
        digest = hashlib.sha256(f"{self._fingerprint} {weight}".encode()).hexdigest()
        return folder / f"{readable}-{digest[:16]}.safetensors"

    def _mark(self, weight: str) -> dict[str, str]:
        return {"fingerprint": self._fingerprint, "weight": weight}


def fingerprint(program: Program, tokens: Tensor, method: str) -> str:
    """Of all that a method's results on the program depend on; `method` names it with its options.

    Weights count by what they are computed from, byte for byte, so each is read once.
    """
    graph = calibration_graph(program)
    known: dict[object, bytes] = {}
    whole = hashlib.sha256(f"{method}\n{print_graph(graph)}".encode())
    for value in graph.weights:
        assert value.weight is not None
        whole.update(f"{value.weight.name}\n".encode() + _digest(value.weight.expression, known))
    whole.update(_bytes_of(tokens))
    return whole.hexdigest()


def _digest(expression: WeightExpression, known: dict[object, bytes]) -> bytes:
    """A leaf is known by its value, wherever it lies; what is applied to it by its text."""
    if isinstance(expression, Applied):
        made = hashlib.sha256(f"{expression.definition.name} {expression.attribute_text}".encode())
        for operand in expression.operands:
            made.update(b"none" if operand is None else _digest(operand, known))
        return made.digest()
    key = expression if isinstance(expression, StoredFile) else id(expression)
    if key not in known:
        made = hashlib.sha256(f"{expression.type}".encode())
        made.update(_bytes_of(expression.evaluate()))
        known[key] = made.digest()
    return known[key]


def _bytes_of(array: Tensor) -> Any:
    return array.contiguous().reshape(-1).view(torch.uint8).numpy()


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(str(path), framework="pt")  # pyright: ignore[reportUnknownVariableType] - untyped
        return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}
