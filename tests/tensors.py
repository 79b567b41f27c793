"""Functions of torch and safetensors whose own annotations leave a type open, with the type said."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any, TypedDict, cast

import torch
from safetensors import torch as safetensors
from torch import Tensor


class Tolerance(TypedDict):
    """What `torch.testing.assert_close` takes as `**tolerance`."""

    rtol: float
    atol: float


def listed(tensor: Tensor) -> list[Any]:
    """The elements as nested lists, as deep as the tensor has axes (one at least)."""
    return cast(Any, tensor).tolist()


def manual_seed(seed: int) -> None:
    cast(Any, torch).manual_seed(seed)


def norm(tensor: Tensor, dim: int | None = None) -> Tensor:
    """The Euclidean norm of all elements, or along one axis."""
    return cast(Any, tensor).norm(dim=dim)


def vector_norm(tensor: Tensor, order: float, dim: int) -> Tensor:
    return cast(Any, torch.linalg).vector_norm(tensor, ord=order, dim=dim)


def unflatten(tensor: Tensor, dim: int, sizes: tuple[int, ...]) -> Tensor:
    return cast(Any, tensor).unflatten(dim, sizes)


def load_file(path: str | PathLike[str]) -> dict[str, Tensor]:
    return cast(Any, safetensors).load_file(path)


def save_file(tensors: Mapping[str, Tensor], path: str | PathLike[str], metadata: dict[str, str] | None = None) -> None:
    cast(Any, safetensors).save_file(dict(tensors), path, metadata)
