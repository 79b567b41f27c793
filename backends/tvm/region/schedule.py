"""What a step does, before it is code: kernels called in order on places in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from graphwright.backends.tvm.region.stages import Kernel


@dataclass(frozen=True, eq=False)
class Given:
    """A tensor that the caller gives: an input, a cache, an output. `type` is TVM's tensor type."""

    name: str
    type: Any


@dataclass(frozen=True, eq=False)
class Stored:
    """A weight, so many bytes behind the beginning of the weights file."""

    offset: int


@dataclass(frozen=True, eq=False)
class Temporary:
    """A buffer in the workspace, of so many bytes (an expression over sizes), from the first call that uses it to the
    last."""

    bytes: Any


Place = Given | Stored | Temporary


@dataclass(frozen=True)
class KernelCall:
    """A kernel on places: one for each buffer among its parameters and of its scratch, by `key`, and an expression over
    the step's sizes for each scalar variable."""

    kernel: Kernel
    places: dict[int, Place]
    sizes: dict[int, Any]


@dataclass(frozen=True)
class Schedule:
    """A step function to be: its tensors in the order of its parameters, and its calls.

    `dimensions` are the variables of all its sizes by name, those that are fixed among them.
    """

    name: str
    parameters: tuple[Given, ...]
    dimensions: dict[str, Any]
    calls: list[KernelCall] = field(default_factory=list[KernelCall])
