"""Safetensors files: their header, checked against the file's size, and their values."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, NonNegativeInt

from graphwright.ir.errors import IRTypeError, WeightError
from graphwright.ir.types import DType, TensorType, tensor

SAFETENSORS_DTYPES = {
    "BOOL": DType.BOOL,
    "I8": DType.I8,
    "U8": DType.U8,
    "I16": DType.I16,
    "I32": DType.I32,
    "I64": DType.I64,
    "F8_E4M3": DType.F8E4M3,
    "F8_E5M2": DType.F8E5M2,
    "F8_E8M0": DType.F8E8M0,
    "F16": DType.F16,
    "BF16": DType.BF16,
    "F32": DType.F32,
    "F64": DType.F64,
}

LONGEST_HEADER = 100_000_000
"""Bytes, as in the library of the format (safetensors/src/tensor.rs, MAX_HEADER_SIZE)."""


_Size = Annotated[int, Field(ge=0, le=(1 << 63) - 1)]


class _Entry(BaseModel):
    """One tensor in the header of a safetensors file."""

    dtype: str
    shape: list[_Size]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


def read_header(path: str) -> dict[str, TensorType]:
    """Names and types of the tensors in a safetensors file, from its header; a cut file is an error, found here."""
    file = Path(path)
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > size - 8:
                raise WeightError(f"{path}: not a safetensors file, or cut short ({size} bytes)")
            if length > LONGEST_HEADER:
                raise WeightError(f"{path}: the safetensors header is damaged: it would be {length} bytes long")
            header = stream.read(length)
    except OSError as problem:
        raise WeightError(f"{path}: cannot be read ({problem.strerror})") from None
    try:
        entries = {k: _Entry.model_validate(v) for k, v in json.loads(header).items() if k != "__metadata__"}
    except (ValueError, AttributeError, RecursionError):
        raise WeightError(f"{path}: the safetensors header is damaged") from None
    index: dict[str, TensorType] = {}
    for name, entry in entries.items():
        if entry.dtype not in SAFETENSORS_DTYPES:
            raise WeightError(f"{path}: tensor '{name}' has the element type {entry.dtype}, which is not supported")
        try:
            index[name] = tensor(SAFETENSORS_DTYPES[entry.dtype], *entry.shape)
            bits = index[name].bits
        except IRTypeError:
            raise WeightError(f"{path}: the safetensors header is damaged") from None
        begin, end = entry.data_offsets
        if bits != 8 * (end - begin):
            raise WeightError(f"{path}: tensor '{name}' is {index[name]}, but {end - begin} bytes are kept for it")
    end = max((entry.data_offsets[1] for entry in entries.values()), default=0)
    if 8 + length + end != size:
        raise WeightError(
            f"{path}: the header promises {8 + length + end} bytes, the file has {size}: it is cut short or damaged"
        )
    return index


def open_safetensors(path: str) -> Any:
    """The file, mapped. Raises `WeightError` where it cannot be."""
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt", device="cpu")  # pyright: ignore[reportUnknownVariableType] - untyped
    except (SafetensorError, OSError) as problem:
        raise WeightError(f"{path}: cannot be read ({problem})") from None
