"""Lazy weights: a name, and an expression over stored arrays that is evaluated only when a backend writes the weight.

Every transform of a weight (transpose, slice, concat, cast, quantize) is an op of the IR applied to an expression, so
there is one definition of each, and constant folding is nothing but building such an expression.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, NonNegativeInt

from graphwright.ir.attributes import Attribute, Scalar, attribute_text
from graphwright.ir.declare import OpDef
from graphwright.ir.errors import UnsupportedError, WeightError
from graphwright.ir.lazy import torch
from graphwright.ir.types import DType, QuantizedType, TensorType, Type, tensor

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
    "F8_E8M0": DType.F8E8M0,
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
        stored = safetensors_index(self.path).get(self.key)
        if stored is None:
            raise WeightError(f"{self.path}: there is no tensor '{self.key}'")
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
    """An op applied to stored arrays: a transform that waits. Absent optional operands are None."""

    definition: OpDef
    operands: tuple[WeightExpression | None, ...]
    attributes: tuple[tuple[str, Attribute], ...] = field(compare=False)
    type: Type = field(compare=False)
    attribute_text: str = field(init=False, repr=False)
    """Stands for the attributes in comparisons: `==` takes -0.0 for 0.0 and NaN for different from itself."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "attribute_text", ", ".join(f"{k}={attribute_text(v)}" for k, v in self.attributes))

    @classmethod
    def of(
        cls, definition: OpDef, operands: tuple[WeightExpression | None, ...], attributes: Mapping[str, Attribute]
    ) -> Applied:
        """Raises `IRTypeError` if the op does not fit its operands, or has several results."""
        complete = definition.complete(attributes)
        padded = tuple(definition.pad(operands))
        results = definition.infer([None if e is None else e.type for e in padded], complete)
        if len(results) != 1:
            raise definition.error(f"it has {len(results)} results, a weight is one", "")
        return cls(definition, padded, tuple(complete.items()), results[0])

    def evaluate(self) -> Tensor:
        recent = _recent.get()
        if recent is None or not isinstance(self.type, QuantizedType):
            return self._computed()
        value = recent.pop(self, None)
        if value is None:
            value = self._computed()
        recent[self] = value
        while len(recent) > RECENT:
            del recent[next(iter(recent))]
        return value

    def _computed(self) -> Tensor:
        from graphwright.ir.interpreter import apply_reference

        values = [None if e is None else e.evaluate() for e in self.operands]
        return apply_reference(self.definition, values, dict(self.attributes), (self.type,), {})[0]


RECENT = 2
"""How many quantized weights are remembered: that in whose form one is written, and what that was made from."""

_recent: ContextVar[dict[Applied, Tensor] | None] = ContextVar("recent", default=None)


@contextmanager
def remembering_quantized() -> Generator[None]:
    """While this lasts, the last quantized weights that were computed are remembered: their codes, scales and zero
    points are written one after another, and each would be rounded, or found by a search, again."""
    token = _recent.set({})
    try:
        yield
    finally:
        _recent.reset(token)


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
            if tuple(value.shape) != shape or value.dtype is not torch_dtype(self.type.dtype):
                found = f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
                raise WeightError(f"weight '{self.name}' is {found}, declared {self.type}")
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
    name = str(array.dtype)
    if name not in _TORCH_NAMES:
        raise UnsupportedError(f"{name} values are not supported; write the model with real numbers")
    return DType(_TORCH_NAMES[name])


def torch_dtype(dtype: DType) -> Any:
    """The torch dtype of an element type. Integers that torch lacks are held in wider ones, f4e2m1 as its bits."""
    name = _NAMES_IN_TORCH.get(dtype)
    if name is None:
        raise WeightError(f"torch has no element type for {dtype}")
    return getattr(torch, name)


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
    "torch.float8_e8m0fnu": "f8e8m0",
}
_NARROW_INTEGERS = {d: "uint8" if d.value[0] == "u" else "int8" for d in DType if d.is_integer and d.bits < 8}
_NAMES_IN_TORCH = {
    **{DType(ours): name.removeprefix("torch.") for name, ours in _TORCH_NAMES.items()},
    **_NARROW_INTEGERS,
    DType.F4E2M1: "uint8",
}


class _Entry(BaseModel):
    """One tensor in the header of a safetensors file."""

    dtype: str
    shape: list[NonNegativeInt]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


LONGEST_HEADER = 100_000_000
"""Bytes: what the safetensors library takes at most."""


@lru_cache(maxsize=64)
def safetensors_index(path: str) -> dict[str, TensorType]:
    """Names and types of the tensors in a safetensors file, from its header; a cut file is an error, found here."""
    file = Path(path)
    if not file.is_file():
        raise WeightError(f"{path}: the file is missing")
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > min(size - 8, LONGEST_HEADER):
                raise WeightError(f"{path}: not a safetensors file, or cut short ({size} bytes)")
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
        index[name] = tensor(SAFETENSORS_DTYPES[entry.dtype], *entry.shape)
        begin, end = entry.data_offsets
        if index[name].bits != 8 * (end - begin):
            raise WeightError(f"{path}: tensor '{name}' is {index[name]}, but {end - begin} bytes are kept for it")
    end = max((entry.data_offsets[1] for entry in entries.values()), default=0)
    if 8 + length + end != size:
        raise WeightError(
            f"{path}: the header promises {8 + length + end} bytes, the file has {size}: it is cut short or damaged"
        )
    return index


@lru_cache(maxsize=64)
def _open(path: str) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt", device="cpu")  # pyright: ignore[reportUnknownVariableType] - untyped
    except (SafetensorError, OSError) as problem:
        raise WeightError(f"{path}: cannot be read ({problem})") from None


def forget_files() -> None:
    """Closes the files that weights were read from. For a writer that puts another file in place of one of them."""
    safetensors_index.cache_clear()
    _open.cache_clear()


def expression_text(expression: WeightExpression) -> str:
    """The expression as the text format writes it. An array in memory is spelt out: only small ones should be left."""
    if isinstance(expression, StoredFile):
        return f"file({attribute_text(expression.path)}, {attribute_text(expression.key)}) : {expression.type}"
    if isinstance(expression, StoredArray):
        values = cast("list[Scalar]", expression.array.flatten().tolist())  # pyright: ignore[reportUnknownMemberType] - untyped library
        return f"data([{', '.join(map(attribute_text, values))}]) : {expression.type}"
    operands = ", ".join("none" if e is None else expression_text(e) for e in expression.operands)
    attributes = expression.attribute_text
    return f"{expression.definition.name}({operands})" + (f" {{{attributes}}}" if attributes else "")
