"""What a plan needs to know of a kernel's code: its stages, in plain data that a file can hold."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from graphwright.backends.plan import Definition
from graphwright.backends.plan.plan import DefinitionKind
from graphwright.ir.dims import Dim
from graphwright.ir.text import parse_type
from graphwright.ir.types import DType, TensorType

Axes = tuple[str | None, ...]


@dataclass(frozen=True)
class BufferUse:
    """A buffer that a stage takes: its number among the kernel's buffers, parameters first and then scratch."""

    number: int
    reads: bool
    writes: bool


@dataclass(frozen=True)
class StageRecord:
    """One stage of a kernel: see `plan.Stage`. Sizes are over the kernel's own variables and definitions."""

    function: str
    extent: Dim | None
    arms: tuple[tuple[int, int], ...]
    buffers: tuple[BufferUse, ...]
    sizes: tuple[tuple[str, DType], ...]


@dataclass(frozen=True)
class KernelRecord:
    """A kernel's parameters in order, its scratch and its stages.

    A parameter that is a buffer has of each axis the variable that its length gives, None where it gives none; one that
    is a number is its variable.
    """

    parameters: tuple[Axes | str, ...]
    scratch: tuple[TensorType, ...]
    definitions: dict[str, Definition]
    stages: tuple[StageRecord, ...]


def to_json(record: KernelRecord) -> str:
    return json.dumps(
        {
            "arguments": record.parameters,
            "scratch": [str(type) for type in record.scratch],
            "definitions": {n: [d.kind, str(d.first), str(d.second)] for n, d in record.definitions.items()},
            "stages": [
                {
                    "function": stage.function,
                    "extent": None if stage.extent is None else str(stage.extent),
                    "arms": stage.arms,
                    "buffers": [[use.number, use.reads, use.writes] for use in stage.buffers],
                    "sizes": [[variable, dtype.value] for variable, dtype in stage.sizes],
                }
                for stage in record.stages
            ],
        }
    )


def from_json(text: str) -> KernelRecord:
    """The record that `to_json` wrote."""
    found: dict[str, Any] = json.loads(text)
    return KernelRecord(
        tuple(each if isinstance(each, str) else tuple(each) for each in found["arguments"]),
        tuple(cast(TensorType, parse_type(each)) for each in found["scratch"]),
        {name: _definition(*parts) for name, parts in cast(Mapping[str, list[str]], found["definitions"]).items()},
        tuple(_stage(each) for each in found["stages"]),
    )


def _definition(kind: str, first: str, second: str) -> Definition:
    return Definition(cast(DefinitionKind, kind), Dim.of(first), Dim.of(second))


def _stage(found: Mapping[str, Any]) -> StageRecord:
    return StageRecord(
        found["function"],
        None if found["extent"] is None else Dim.of(found["extent"]),
        tuple((branch, arm) for branch, arm in found["arms"]),
        tuple(BufferUse(*use) for use in found["buffers"]),
        tuple((variable, DType(dtype)) for variable, dtype in found["sizes"]),
    )
