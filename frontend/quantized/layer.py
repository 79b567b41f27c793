"""What a format makes of one layer's tensors, and the tensors it makes it of."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from graphwright.ir import DType, StoredFile, TensorType, UnsupportedError, WeightError
from graphwright.ir.weights import WeightExpression

SCALES = (DType.F16, DType.BF16, DType.F32)
"""The element types that stored scales have."""


@dataclass(frozen=True)
class Rounding:
    """Inputs of a layer are rounded to `to` when it runs, `group` of a token's elements (0: all) to a scale."""

    to: DType
    group: int = 0


@dataclass(frozen=True)
class QuantizedLayer:
    """A layer's weight [out, in], of a quantized type grouped along `in`, and how its inputs are rounded."""

    weight: WeightExpression
    rounding: Rounding | None = None


class LayerTensors:
    """The tensors that the files hold of one layer, by the last part of their names."""

    def __init__(self, name: str, parts: Mapping[str, StoredFile]) -> None:
        self.name = name
        self._parts = parts

    @property
    def path(self) -> str:
        return next(iter(self._parts.values())).path

    def __contains__(self, part: str) -> bool:
        return part in self._parts

    def get(self, part: str, dtypes: Collection[DType], *shape: int | None) -> StoredFile:
        """The tensor, which must have one of the element types and that shape; None is a length that any will do for.

        Raises `WeightError` where it is missing or another.
        """
        if part not in self._parts:
            raise WeightError(f"{self.path}: layer '{self.name}' has '{next(iter(self._parts))}' but no '{part}'")
        stored = self._parts[part]
        lengths = stored.type.shape
        fits = len(lengths) == len(shape) and all(
            b is None or a.constant == b for a, b in zip(lengths, shape, strict=True)
        )
        if stored.type.dtype not in dtypes or not fits:
            wanted = ", ".join("any" if length is None else str(length) for length in shape)
            kinds = " or ".join(d.value for d in dtypes)
            raise WeightError(f"{stored.path}: tensor '{stored.key}' is {stored.type}, expected {kinds}[{wanted}]")
        return stored

    def type(self, part: str) -> TensorType | None:
        """The type of a tensor, None if there is no such tensor."""
        return self._parts[part].type if part in self._parts else None

    def unsupported(self, problem: str) -> UnsupportedError:
        return UnsupportedError(f"{self.path}: layer '{self.name}' {problem}")

    def damaged(self, part: str, problem: str) -> WeightError:
        stored = self._parts[part]
        return WeightError(f"{stored.path}: tensor '{stored.key}' is {stored.type}: {problem}")


class Format(BaseModel, ABC):
    """A format, with what `quantization_config` says of it."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)
    markers: ClassVar[frozenset[str]]
    """The tensors that only quantized layers have."""
    parts: ClassVar[frozenset[str]]
    """The tensors of a quantized layer beside its markers."""

    def refusal(self) -> str | None:
        """What of the settings is not read, or None."""
        return None

    @abstractmethod
    def layer(self, tensors: LayerTensors) -> QuantizedLayer:
        """Raises `WeightError` where tensors are missing or do not fit, `UnsupportedError` for what is not read."""


def lengths(stored: StoredFile) -> tuple[int, ...]:
    """The shape of a stored tensor."""
    return tuple(dim.evaluate({}) for dim in stored.type.shape)
