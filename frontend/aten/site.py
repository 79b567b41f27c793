"""The place where one traced operator is imported: what it should give, and the spellings that importers share."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from graphwright.ir import Builder, Dim, DType, TensorType, UnsupportedError, Value, ops
from graphwright.ir.declare import OpDef
from graphwright.ir.location import at_source
from graphwright.ir.program import Program
from graphwright.ir.torch_types import dtype_of, torch_dtype
from graphwright.ir.weights import Applied

Operand = Value | Dim | bool | int | float
Size = Dim | int


class Site:
    """Builds IR for one operator. `types` are the results that torch promises; the importer must meet them exactly."""

    def __init__(self, program: Program, build: Builder, operator: str, types: Sequence[TensorType]) -> None:
        self.program = program
        self.build = build
        self.operator = operator
        self.types = types

    @property
    def type(self) -> TensorType:
        """The type of the operator's first result."""
        return self.types[0]

    def unsupported(self, problem: str) -> UnsupportedError:
        where = f" at {self.build.location}" if self.build.location else ""
        return UnsupportedError(f"{self.operator}{where}: {problem}{at_source(self.build.location)}")

    # -- operands

    def value(self, operand: Operand, dtype: DType) -> Value:
        """The operand as a tensor of the dtype: a number becomes a constant, a dimension its value."""
        if isinstance(operand, Value):
            return self.cast(operand, dtype)
        if isinstance(operand, Dim):
            if operand.constant is None:
                return self.cast(self.build(ops.dim_value, value=operand), dtype)
            operand = operand.constant
        return self.build.constant(_number(operand, dtype), dtype)

    def cast(self, x: Value, dtype: DType) -> Value:
        return x if x.tensor.dtype is dtype else self.build(ops.cast, x, dtype=dtype)

    def reshape(self, x: Value, shape: Sequence[Size]) -> Value:
        target = tuple(Dim.of(d) for d in shape)
        return x if x.tensor.shape == target else self.build(ops.reshape, x, shape=target)

    def expand(self, x: Value, shape: Sequence[Size]) -> Value:
        target = tuple(Dim.of(d) for d in shape)
        return x if x.tensor.shape == target else self.build(ops.expand, x, shape=target)

    def transpose(self, x: Value, permutation: Sequence[int]) -> Value:
        order = tuple(p % x.tensor.rank for p in permutation)
        return x if order == tuple(range(x.tensor.rank)) else self.build(ops.transpose, x, permutation=order)

    def slice(self, x: Value, axis: int, start: Size, stop: Size) -> Value:
        """Elements start to stop of an axis; both count from the front and lie inside."""
        if start == 0 and Dim.of(stop) is x.tensor.shape[axis]:
            return x
        return self.build(ops.slice, x, axis=axis, start=Dim.of(start), stop=Dim.of(stop))

    def axis(self, x: Value, axis: int) -> int:
        """The axis counted from the front; torch takes 0 and -1 on a scalar too."""
        return axis % max(x.tensor.rank, 1)

    def full(self, value: Operand, shape: Sequence[Size], dtype: DType) -> Value:
        """A tensor of the shape filled with a number."""
        if isinstance(value, (bool, int, float)):
            return self.build.constant(_number(value, dtype), dtype, *shape)
        return self.expand(self.value(value, dtype), shape)

    # -- arithmetic

    def binary(self, definition: OpDef, x: Operand, y: Operand, dtype: DType) -> Value:
        """An op of two operands computed and returned in the dtype.

        torch keeps a scalar's full precision against a narrow float tensor: bf16 `x * 0.1` multiplies by 0.1, not by
        the bf16 next to it. Where that differs, the op runs in float32 between explicit casts.
        """
        wide = DType.F32 if dtype in (DType.BF16, DType.F16) and (_inexact(x, dtype) or _inexact(y, dtype)) else dtype
        return self.cast(self.build(definition, self.value(x, wide), self.value(y, wide)), dtype)

    def common_dtype(self, x: Operand, y: Operand) -> DType:
        """The element type in which torch compares the operands (its type promotion)."""
        dtype: torch.dtype = torch.result_type(_stand_in(x), _stand_in(y))
        return dtype_of(torch.empty(0, dtype=dtype))

    # -- weights

    def transposed_weight(self, x: Value) -> Value:
        """A weight of two axes transposed lazily, as another weight."""
        assert x.weight is not None
        expression = Applied.of(ops.transpose, (x.weight.expression,), {"permutation": (1, 0)})
        return self.build.graph.weight(self.program.add_weight(f"{x.weight.name}.transposed", expression))


def _number(value: bool | int | float, dtype: DType) -> bool | int | float:
    if dtype is DType.BOOL:
        return bool(value)
    return float(value) if dtype.is_float else int(value)


def _inexact(operand: Operand, dtype: DType) -> bool:
    if isinstance(operand, Value):
        type = operand.tensor
        return type.rank == 0 and type.dtype.is_float and type.dtype.bits > dtype.bits
    if isinstance(operand, Dim):
        return operand.constant is None
    rounded = torch.tensor(operand, dtype=torch.float64).to(torch_dtype(dtype)).item()
    return rounded != operand and not math.isnan(operand)


def _stand_in(operand: Operand) -> Any:
    if isinstance(operand, Value):
        return torch.empty((1,) * operand.tensor.rank, dtype=torch_dtype(operand.tensor.dtype), device="meta")
    return 1 if isinstance(operand, Dim) else operand
