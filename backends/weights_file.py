"""Writes a safetensors file whose tensors each begin on a page, one tensor in memory at a time.

ONNX Runtime maps external data that is page aligned instead of reading it, and the file stays a plain safetensors file
that any tool opens. The format allows no holes, so the room between tensors is filled by small tensors of zeros.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from graphwright.backends.element_types import SAFETENSORS_NAMES
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.lazy import torch
from graphwright.ir.ops.quantization import pack_bits
from graphwright.ir.storage import stored_bytes, weights_within
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import DType, TensorType
from graphwright.ir.weights import Weight

if TYPE_CHECKING:
    from torch import Tensor

PAGE = 4096
PADDING = "padding"
PACKED = frozenset({DType.I4, DType.U4})
"""Types that the file holds as bytes of two elements each, the first in the lower half, as ONNX does."""


@dataclass(frozen=True)
class Place:
    """Where a tensor's bytes lie, counted from the beginning of the file."""

    offset: int
    length: int


@dataclass(frozen=True)
class WeightsLayout:
    """The file before it is written: its head (length, JSON and blanks up to a page) and the place of each weight."""

    head: bytes
    places: dict[str, Place]
    parts: frozenset[str]
    """The weights that lie within others."""
    size: int


def weight_bytes(weight: Weight) -> int:
    """The size of a weight's data in bytes; raises `UnsupportedError` for a type that the file cannot hold."""
    if not isinstance(weight.type, TensorType) or weight.type.dtype not in {*SAFETENSORS_NAMES, *PACKED}:
        raise UnsupportedError(f"weight '{weight.name}': {weight.type} cannot be stored in a safetensors file")
    return stored_bytes(weight)


def plan_weights(weights: Sequence[Weight]) -> WeightsLayout:
    """Lays the weights out in the given order."""
    entries: dict[str, object] = {}
    relative: dict[str, Place] = {}
    end = 0
    within = weights_within(weights)
    for weight in weights:
        if weight.name in within:
            continue
        if weight.name.startswith(PADDING):
            raise UnsupportedError(f"weight '{weight.name}': names that begin with '{PADDING}' are taken")
        gap = -end % PAGE
        if gap:
            entries[f"{PADDING}.{len(relative)}"] = {"dtype": "U8", "shape": [gap], "data_offsets": [end, end + gap]}
        begin, end = end + gap, end + gap + weight_bytes(weight)
        assert isinstance(weight.type, TensorType)
        packed = weight.type.dtype in PACKED
        entries[weight.name] = {
            "dtype": SAFETENSORS_NAMES[DType.U8 if packed else weight.type.dtype],
            "shape": [end - begin] if packed else [d.constant for d in weight.type.shape],
            "data_offsets": [begin, end],
        }
        relative[weight.name] = Place(begin, end - begin)
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % PAGE)
    head = len(text).to_bytes(8, "little") + text
    places = {name: Place(len(head) + place.offset, place.length) for name, place in relative.items()}
    for weight in weights:
        if (part := within.get(weight.name)) is not None:
            places[weight.name] = Place(places[part.whole].offset + part.offset, weight_bytes(weight))
    return WeightsLayout(head, places, frozenset(within), len(head) + end)


def write_weights(path: Path, weights: Sequence[Weight], layout: WeightsLayout) -> None:
    """Evaluates and writes one weight after another. Raises `WeightError` where a value cannot be read or computed."""
    with path.open("wb") as file:
        file.write(layout.head)
        for weight in weights:
            if weight.name in layout.parts:
                continue
            place = layout.places[weight.name]
            file.write(bytes(place.offset - file.tell()))
            write_tensor(file, weight)
            assert file.tell() == place.offset + place.length, f"{weight.name} has another size than its type"


def write_tensor(file: BinaryIO, weight: Weight) -> None:
    """The weight's bytes, little endian and in row-major order."""
    file.write(raw_bytes(weight.evaluate(), weight.type).numpy().data)


def raw_bytes(value: Tensor, type: object) -> Tensor:
    """A tensor's storage as bytes, rank 1; checks that it is of the declared type."""
    assert isinstance(type, TensorType)
    assert value.dtype is torch_dtype(type.dtype), f"{value.dtype} is not {type}"
    if type.dtype in PACKED:
        return pack_bits.evaluate([value.reshape(-1)], {"bits": type.dtype.bits})
    return value.contiguous().reshape(-1).view(torch.uint8)
