"""Lazy weights: a name, and an expression over stored arrays that is evaluated only when a backend writes the weight.

Every transform of a weight (transpose, slice, concat, cast, quantize) is an op of the IR applied to an expression, so
there is one definition of each, and constant folding is nothing but building such an expression.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphwright.ir.attributes import Attribute, attribute_text
from graphwright.ir.declare import OpDef
from graphwright.ir.errors import WeightError
from graphwright.ir.lazy import torch
from graphwright.ir.types import DType, TensorType, Type, tensor

if TYPE_CHECKING:
    from torch import Tensor

SAFETENSORS_DTYPES = {
    "BOOL": DType.BOOL,
    "I8": DType.I8,
    "U8": DType.U8,
    "I16": DType.I16,
    "I32": DType.I32,
    "I64": DType.I64,
    "F8_E4M3": DType.F8E4M3,
    "F8_E5M2": DType.F8E5M2,
    "F16": DType.F16,
    "BF16": DType.BF16,
    "F32": DType.F32,
    "F64": DType.F64,
}


@dataclass(frozen=True)
class StoredFile:
    """A tensor in a safetensors file, mapped when read."""

    path: str
    key: str
    type: TensorType

    def evaluate(self) -> Tensor:
        if self.key not in safetensors_index(self.path):
            raise WeightError(f"{self.path}: there is no tensor '{self.key}'")
        stored = safetensors_index(self.path)[self.key]
        if stored != self.type:
            raise WeightError(f"{self.path}: tensor '{self.key}' is {stored}, the graph expects {self.type}")
        return _open(self.path).get_tensor(self.key)


@dataclass(frozen=True, eq=False)
class StoredArray:
    """A tensor held in memory; equal only to itself."""

    array: Tensor
    type: TensorType

    @classmethod
    def of(cls, array: Tensor) -> StoredArray:
        return cls(array, tensor(dtype_of(array), *array.shape))

    def evaluate(self) -> Tensor:
        return self.array


@dataclass(frozen=True)
class Applied:
    """An op applied to stored arrays: a transform that waits."""

    definition: OpDef
    operands: tuple[WeightExpression | None, ...]
    attributes: tuple[tuple[str, Attribute], ...]
    type: Type = field(compare=False)

    @classmethod
    def of(
        cls, definition: OpDef, operands: tuple[WeightExpression | None, ...], attributes: Mapping[str, Attribute]
    ) -> Applied:
        complete = definition.complete(attributes)
        (result,) = definition.infer([None if e is None else e.type for e in operands], complete)
        return cls(definition, operands, tuple(complete.items()), result)

    def evaluate(self) -> Tensor:
        from graphwright.ir.interpreter import apply_reference

        values = [None if e is None else e.evaluate() for e in self.operands]
        return apply_reference(self.definition, values, dict(self.attributes), (self.type,), {})[0]


WeightExpression = StoredFile | StoredArray | Applied


class Weight:
    """A named constant of a program. Its expression may be replaced as long as the type stays."""

    __slots__ = ("expression", "name")

    def __init__(self, name: str, expression: WeightExpression) -> None:
        self.name = name
        self.expression = expression

    @property
    def type(self) -> Type:
        return self.expression.type

    def evaluate(self) -> Tensor:
        """The value, as a torch tensor. Raises `WeightError` where it cannot be had."""
        value = self.expression.evaluate()
        if isinstance(self.type, TensorType):
            shape = tuple(d.constant for d in self.type.shape)
            if tuple(value.shape) != shape:
                raise WeightError(f"weight '{self.name}' has shape {tuple(value.shape)}, declared {self.type}")
        return value

    def __repr__(self) -> str:
        return f"<weight {self.name}: {self.type}>"


def sources(expression: WeightExpression) -> Iterator[StoredFile | StoredArray]:
    """The stored arrays that an expression reads."""
    if isinstance(expression, Applied):
        for operand in expression.operands:
            if operand is not None:
                yield from sources(operand)
    else:
        yield expression


def dtype_of(array: Tensor) -> DType:
    """The IR's element type of a torch tensor."""
    return DType(_TORCH_NAMES[str(array.dtype)])


def torch_dtype(dtype: DType) -> Any:
    """The torch dtype of an element type. Types that torch lacks are held in the next wider integer."""
    name = next((name for name, ours in _TORCH_NAMES.items() if ours == dtype.value), None)
    if name is None:
        name = "torch.uint8" if dtype.value[0] == "u" else "torch.int8"
    return getattr(torch, name.removeprefix("torch."))


_TORCH_NAMES = {
    "torch.bool": "bool",
    "torch.int8": "i8",
    "torch.uint8": "u8",
    "torch.int16": "i16",
    "torch.int32": "i32",
    "torch.int64": "i64",
    "torch.float16": "f16",
    "torch.bfloat16": "bf16",
    "torch.float32": "f32",
    "torch.float64": "f64",
    "torch.float8_e4m3fn": "f8e4m3",
    "torch.float8_e5m2": "f8e5m2",
}


@lru_cache(maxsize=64)
def safetensors_index(path: str) -> dict[str, TensorType]:
    """Names and types of the tensors in a safetensors file, from its header; a cut file is an error, found here."""
    file = Path(path)
    if not file.is_file():
        raise WeightError(f"{path}: the file is missing")
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > size - 8:
            raise WeightError(f"{path}: not a safetensors file, or cut short ({size} bytes)")
        try:
            header = json.loads(stream.read(length))
            entries = {k: v for k, v in header.items() if k != "__metadata__"}
            end = max((v["data_offsets"][1] for v in entries.values()), default=0)
            index = {k: tensor(SAFETENSORS_DTYPES[v["dtype"]], *v["shape"]) for k, v in entries.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            raise WeightError(f"{path}: the safetensors header is damaged ({problem!r})") from None
    if 8 + length + end != size:
        raise WeightError(
            f"{path}: the header promises {8 + length + end} bytes, the file has {size}: it is cut short or damaged"
        )
    return index


@lru_cache(maxsize=64)
def _open(path: str) -> Any:
    from safetensors import safe_open

    return safe_open(path, framework="pt", device="cpu")  # pyright: ignore[reportUnknownVariableType] - untyped library


def expression_text(expression: WeightExpression) -> str:
    """The expression as the text format writes it; an array in memory is spelt out, so only small ones should be left."""
    if isinstance(expression, StoredFile):
        return f"file({attribute_text(expression.path)}, {attribute_text(expression.key)}) : {expression.type}"
    if isinstance(expression, StoredArray):
        values = ", ".join(attribute_text(v) for v in expression.array.flatten().tolist())
        return f"data([{values}]) : {expression.type}"
    operands = ", ".join("none" if e is None else expression_text(e) for e in expression.operands)
    listed = ", ".join(f"{k}={attribute_text(v)}" for k, v in expression.attributes)
    return f"{expression.definition.name}({operands})" + (f" {{{listed}}}" if listed else "")
