"""Lazy weights: a name, and an expression over stored arrays that is evaluated only when a backend writes the weight.

Every transform of a weight (transpose, slice, concat, cast, quantize) is an op of the IR applied to an expression, so
there is one definition of each, and constant folding is nothing but building such an expression.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

from graphwright.ir.attributes import Attribute, Scalar, attribute_text
from graphwright.ir.declare import OpDef
from graphwright.ir.errors import WeightError
from graphwright.ir.tensor_files import FileIdentity, TensorFile, require_same, tensor_file
from graphwright.ir.torch_types import dtype_of, torch_dtype
from graphwright.ir.types import QuantizedType, TensorType, Type, tensor

if TYPE_CHECKING:
    from torch import Tensor

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class StoredFile:
    """A tensor in a file, mapped when read.

    With an `identity` it is that of one content of the file, and another one in its place is refused; without, it is
    whatever the file holds when it is read.
    """

    path: str
    key: str
    type: TensorType
    identity: FileIdentity | None = None

    def evaluate(self) -> Tensor:
        """The value. Raises what `open` does."""
        return self.open().read(self.key)

    def open(self) -> TensorFile:
        """The file, of which no more than names and types has been read.

        Raises `WeightError` where it or the tensor is missing, damaged, or not the one that was meant.
        """
        self.require_same()
        file = tensor_file(self.path)
        stored = file.tensors.get(self.key)
        if stored is None:
            raise WeightError(f"{self.path}: there is no tensor '{self.key}'")
        if stored != self.type:
            raise WeightError(f"{self.path}: tensor '{self.key}' is {stored}, the graph expects {self.type}")
        return file

    def require_same(self) -> None:
        """Raises `WeightError` where the file is not the one that was meant."""
        if self.identity is not None:
            require_same(self.path, self.identity)


def stored_tensors(path: str) -> dict[str, StoredFile]:
    """The tensors of a file, as it is now, by their names. Raises what `tensor_file` does."""
    file = tensor_file(path)
    return {name: StoredFile(path, name, type, file.identity) for name, type in file.tensors.items()}


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

    def attribute(self, name: str, *kinds: type[Kind]) -> Kind:
        """The attribute of that name, typed as `graphwright.ir.graph.Op.attribute` types those of an op."""
        self.definition.require_kind(name, kinds)
        return cast("Kind", dict(self.attributes)[name])

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
        """The value, as a torch tensor. Raises `WeightError` where it cannot be read or computed."""
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


def with_sources(
    expression: WeightExpression, change: Callable[[StoredFile | StoredArray], WeightExpression]
) -> WeightExpression:
    """The expression over what `change` makes of each stored array, which has the same type."""
    if not isinstance(expression, Applied):
        return change(expression)
    operands = tuple(None if e is None else with_sources(e, change) for e in expression.operands)
    return Applied(expression.definition, operands, expression.attributes, expression.type)


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
