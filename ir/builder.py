"""A place in a graph to build at: `build(ops.add, x, y)`."""

from __future__ import annotations

from typing import Any

from graphwright.ir.attributes import Attribute
from graphwright.ir.declare import REGISTRY, OpDef
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.types import DType


class Builder:
    """Inserts ops before `before` (or at the end), all with one location.

    Small integer or float operands are constants of the dtype of the op's last value: `build(ops.mul, x, 2.0)`.
    """

    __slots__ = ("before", "graph", "location")

    def __init__(self, graph: Graph, before: Op | None = None, location: str = "") -> None:
        self.graph = graph
        self.before = before
        self.location = location

    def __call__(self, definition: OpDef, *operands: Value | float | None, **attributes: Any) -> Value:
        """The single result of a new op."""
        return self.op(definition, *operands, **attributes).result

    def op(self, definition: OpDef, *operands: Value | float | None, **attributes: Any) -> Op:
        """A new op, for those with several results."""
        dtype = next((v.tensor.dtype for v in reversed(operands) if isinstance(v, Value)), DType.F32)
        values = [self.constant(v, dtype) if isinstance(v, (int, float)) else v for v in operands]
        return self.graph.insert(definition, values, attributes, before=self.before, location=self.location)

    def constant(self, value: Attribute, dtype: DType, *shape: Dim | int) -> Value:
        """A tensor filled with one number."""
        return self.graph.insert(
            REGISTRY["constant"],
            (),
            {"value": value, "dtype": dtype, "shape": tuple(Dim.of(d) for d in shape)},
            before=self.before,
            location=self.location,
        ).result
