"""Functions of torch and safetensors whose own annotations leave a type open, with the type said."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, TypedDict

import torch
from safetensors.torch import load_file as _load_file  # pyright: ignore[reportUnknownVariableType] - as below
from safetensors.torch import save_file as _save_file  # pyright: ignore[reportUnknownVariableType] - PathLike of what?
from torch import Tensor


class Tolerance(TypedDict):
    """What `torch.testing.assert_close` takes as `**tolerance`."""

    rtol: float
    atol: float


def listed(tensor: Tensor) -> list[Any]:
    """The elements as nested lists, as deep as the tensor has axes (one at least)."""
    return tensor.tolist()  # pyright: ignore[reportUnknownMemberType] - torch says only that it is a list


def manual_seed(seed: int) -> None:
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType] - torch leaves the seed's type open


def norm(tensor: Tensor, dim: int | None = None) -> Tensor:
    """The Euclidean norm of all elements, or along one axis."""
    return tensor.norm(dim=dim)  # pyright: ignore[reportUnknownMemberType] - torch says nothing of `dim`


def load_file(path: str | PathLike[str]) -> dict[str, Tensor]:
    return _load_file(path)


def save_file(tensors: Mapping[str, Tensor], path: str | PathLike[str], metadata: dict[str, str] | None = None) -> None:
    _save_file(dict(tensors), path, metadata)
