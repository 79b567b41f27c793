"""A place in a graph to build at: `build(ops.add, x, y)`."""

from collections.abc import Iterable, Mapping
from typing import Any

from graphwright.ir.attributes import Attribute
from graphwright.ir.declare import REGISTRY, OpDef
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.types import DType, QuantizedType


class Builder:
    """Inserts ops before `before` (or at the end), all with one location.

    Small integer or float operands are constants of the dtype of the op's last value: `build(ops.mul, x, 2.0)`.
    """

    __slots__ = ("before", "created", "graph", "location")

    def __init__(self, graph: Graph, before: Op | None = None, location: str = "") -> None:
        self.graph = graph
        self.before = before
        self.location = location
        self.created: list[Op] = []

    def __call__(self, definition: OpDef, *operands: Value | float | None, **attributes: Any) -> Value:
        """The single result of a new op."""
        return self.op(definition, *operands, **attributes).result

    def op(self, definition: OpDef, *operands: Value | float | None, **attributes: Any) -> Op:
        """A new op, for those with several results."""
        plain = (v for v in reversed(operands) if isinstance(v, Value) and not isinstance(v.type, QuantizedType))
        dtype = next((v.tensor.dtype for v in plain), DType.F32)
        values = [self.constant(v, dtype) if isinstance(v, (int, float)) else v for v in operands]
        return self._insert(definition, values, attributes)

    def constant(self, value: Attribute, dtype: DType, *shape: Dim | int) -> Value:
        """A tensor filled with one number."""
        attributes = {"value": value, "dtype": dtype, "shape": tuple(Dim.of(d) for d in shape)}
        return self._insert(REGISTRY["constant"], (), attributes).result

    def _insert(self, definition: OpDef, operands: Iterable[Value | None], attributes: Mapping[str, Attribute]) -> Op:
        op = self.graph.insert(definition, operands, attributes, before=self.before, location=self.location)
        self.created.append(op)
        return op
