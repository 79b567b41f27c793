"""Primitives that make or move elements without arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.attributes import Attribute, Scalar
from graphwright.ir.cost import ZERO, Cost, default_cost, free
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.dims import Dim, product
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import aligned_right, keep_but, normal_axis, require_rank, same_dtype
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.traits import Trait
from graphwright.ir.types import DType, TensorType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "concat", "constant", "dim_value", "expand", "iota", "merge_heads", "reshape", "slice", "split", "split_heads",
    "transpose",
]  # fmt: skip

TO_END = 1 << 62
"""The `stop` of a slice that runs to the end, whatever the length."""
START, END = Dim.of(0), Dim.of(TO_END)


def _require_lengths(shape: tuple[Dim, ...]) -> None:
    for dim in shape:
        if dim.constant is not None and dim.constant < 0:
            raise IRTypeError(f"an axis of length {dim}")


def _integers(dtype: DType) -> range:
    """What an integer of this element type can be."""
    if dtype is DType.BOOL:
        return range(2)
    below = 1 << dtype.bits
    return range(below) if dtype.value[0] == "u" else range(-below // 2, below // 2)


def _move(op: Op) -> Cost:
    """Elements are read and written; nothing is computed."""
    return default_cost(op, ZERO)


@op("constant", Trait.SHAPED)
def constant(*, value: Scalar, dtype: DType, shape: tuple[Dim, ...] = ()) -> TensorType:
    """A tensor filled with one number."""
    if not dtype.is_float and (value != value // 1 or int(value) not in _integers(dtype)):
        raise IRTypeError(f"{value} is no {dtype}")
    _require_lengths(shape)
    return TensorType(dtype, shape)


@constant.reference
def constant_reference(*, value: Scalar, dtype: DType, shape: tuple[int, ...]) -> Tensor:
    # By way of float64, so that a number out of range becomes infinite.
    wide = torch.float64 if dtype.is_float else torch_dtype(dtype)
    return torch.full(shape, value, dtype=wide).to(torch_dtype(dtype))


@constant.cost
def constant_cost(op: Op) -> Cost:
    """One of a fixed shape belongs to the program: nothing runs for it."""
    return _move(op) if op.result.type.elements.constant is None else free(op)


@op("iota", Trait.SHAPED)
def iota(*, size: Dim, dtype: DType) -> TensorType:
    """0, 1, 2, … size-1. Over the sequence it is the positions of the tokens."""
    _require_lengths((size,))
    if dtype is DType.BOOL:
        raise IRTypeError("bools do not count")
    return TensorType(dtype, (size,))


@iota.reference
def iota_reference(*, size: int, dtype: DType) -> Tensor:
    return torch.arange(size, dtype=torch_dtype(dtype))


@op("dim_value")
def dim_value(*, value: Dim) -> TensorType:
    """A dimension as a number: i64, rank 0."""
    return TensorType(DType.I64, ())


@dim_value.reference
def dim_value_reference(*, value: int) -> Tensor:
    return torch.tensor(value, dtype=torch.int64)


@op("reshape", Trait.MOVES, Trait.SHAPED, view=True)
def reshape(x: TensorType, *, shape: tuple[Dim, ...]) -> TensorType:
    """The same elements in row-major order under another shape of equal size."""
    _require_lengths(shape)
    if product(shape) is not x.elements:
        raise IRTypeError(f"{x} has {x.elements} elements, [{', '.join(map(str, shape))}] has {product(shape)}")
    return TensorType(x.dtype, shape)


@reshape.reference
def reshape_reference(x: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    return x.reshape(shape)


@reshape.axes
def reshape_axes(op: Op) -> AxisFlow:
    return (reshape_flow(op.inputs[0].type.shape, op.results[0].type.shape),)


def reshape_flow(source: tuple[Dim, ...], target: tuple[Dim, ...]) -> tuple[int | None, ...]:
    """Which axes of a reshape survive whole: those with the same length and the same number of elements before them."""
    starts: dict[tuple[Dim, Dim], int] = {}
    before = Dim.of(1)
    for i, dim in enumerate(target):
        if dim.constant != 1:
            starts[before, dim] = i
        before = before * dim
    flow: list[int | None] = []
    before = Dim.of(1)
    for dim in source:
        flow.append(starts.get((before, dim)))
        before = before * dim
    return tuple(flow)


@op("transpose", Trait.MOVES)
def transpose(x: TensorType, *, permutation: tuple[int, ...]) -> TensorType:
    """Axis i of the result is axis permutation[i] of x."""
    if sorted(permutation) != list(range(x.rank)):
        raise IRTypeError(f"{list(permutation)} does not permute the axes of {x}")
    return TensorType(x.dtype, tuple(x.shape[p] for p in permutation))


@transpose.reference
def transpose_reference(x: Tensor, *, permutation: tuple[int, ...]) -> Tensor:
    return x.permute(permutation)


@transpose.axes
def transpose_axes(op: Op) -> AxisFlow:
    permutation = op.attribute("permutation", tuple[int, ...])
    return (tuple(permutation.index(i) for i in range(len(permutation))),)


@op("expand", Trait.MOVES, Trait.SHAPED)
def expand(x: TensorType, *, shape: tuple[Dim, ...]) -> TensorType:
    """x repeated along its axes of length 1 (and new leading axes) to the shape."""
    if len(shape) < x.rank or any(
        a is not b and a.constant != 1 for a, b in zip(x.shape, shape[len(shape) - x.rank :], strict=True)
    ):
        raise IRTypeError(f"{x} does not expand to [{', '.join(map(str, shape))}]")
    _require_lengths(shape)
    return TensorType(x.dtype, shape)


@expand.reference
def expand_reference(x: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    return x.expand(shape)


expand.axes(aligned_right)


@op("slice", Trait.MOVES)
def slice(x: TensorType, *, axis: int, start: Dim = START, stop: Dim = END, step: int = 1) -> TensorType:
    """Elements start, start+step, … before stop of one axis. Negative bounds count from the end, as in Python."""
    axis = normal_axis(axis, x.rank)
    begin, end = slice_bounds(x.shape[axis], start, stop)
    length = end - begin
    if step != 1:
        if length.constant is None or step < 1:
            raise IRTypeError(f"a step of {step} over {length} elements")
        length = Dim.of(-(-length.constant // step))
    if length.constant is not None and length.constant < 0:
        raise IRTypeError(f"slice {start}:{stop} of {x.shape[axis]} elements is empty")
    return TensorType(x.dtype, (*x.shape[:axis], length, *x.shape[axis + 1 :]))


def slice_bounds(length: Dim, start: Dim, stop: Dim) -> tuple[Dim, Dim]:
    """The bounds counted from the front and cut to the length."""

    def settle(bound: Dim) -> Dim:
        number = bound.constant
        if number is None:
            return bound
        if number < 0:
            bound = length + number
            return Dim.of(0) if bound.constant is not None and bound.constant < 0 else bound
        if number >= TO_END or (length.constant is not None and number > length.constant):
            return length
        return bound

    return settle(start), settle(stop)


@slice.reference
def slice_reference(x: Tensor, *, axis: int, start: int, stop: int, step: int) -> Tensor:
    return torch.ops.aten.slice(x, axis, start, stop, step)


@slice.cost
def slice_cost(op: Op) -> Cost:
    return default_cost(op, ZERO, reads={"x": op.results[0].type.bits})


@slice.axes
def slice_axes(op: Op) -> AxisFlow:
    axis = op.attribute("axis", int)
    return keep_but(op, axis)


@op("concat", Trait.MOVES)
def concat(*parts: TensorType, axis: int) -> TensorType:
    """The parts one after another along an axis."""
    if not parts:
        raise IRTypeError("nothing to concatenate")
    same_dtype(*parts)
    axis = normal_axis(axis, parts[0].rank)
    for part in parts[1:]:
        rest = part.rank == parts[0].rank and all(
            a is b for i, (a, b) in enumerate(zip(part.shape, parts[0].shape, strict=True)) if i != axis
        )
        if not rest:
            raise IRTypeError(f"{part} and {parts[0]} differ in another axis than {axis}")
    length = sum((p.shape[axis] for p in parts), Dim.of(0))
    return TensorType(parts[0].dtype, (*parts[0].shape[:axis], length, *parts[0].shape[axis + 1 :]))


@concat.reference
def concat_reference(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(parts, axis)


@concat.axes
def concat_axes(op: Op) -> AxisFlow:
    axis, rank = op.attribute("axis", int), op.results[0].type.rank
    return tuple(tuple(None if i == axis % rank else i for i in range(rank)) for _ in op.inputs)


@op("split", Trait.MOVES)
def split(x: TensorType, *, axis: int, sizes: tuple[int, ...]) -> tuple[TensorType, ...]:
    """x cut along an axis into parts of the given lengths."""
    axis = normal_axis(axis, x.rank)
    if x.shape[axis].constant != sum(sizes) or min(sizes) < 0:
        raise IRTypeError(f"{x} cannot be split along axis {axis} into {list(sizes)}")
    return tuple(TensorType(x.dtype, (*x.shape[:axis], Dim.of(n), *x.shape[axis + 1 :])) for n in sizes)


@split.reference
def split_reference(x: Tensor, *, axis: int, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    return torch.split(x, list(sizes), axis)


@split.axes
def split_axes(op: Op) -> AxisFlow:
    axis = op.attribute("axis", int)
    return keep_but(op, axis)


@op("split_heads", Trait.MOVES)
def split_heads(x: TensorType, *, heads: int) -> TensorType:
    """[batch, sequence, heads * size] to [batch, heads, sequence, size]."""
    require_rank("x", x, 3)
    size = x.shape[2].exact_div(heads)
    if size is None or heads < 1:
        raise IRTypeError(f"{x} does not divide into {heads} heads")
    return TensorType(x.dtype, (x.shape[0], Dim.of(heads), x.shape[1], size))


@split_heads.reference
def split_heads_reference(x: Tensor, *, heads: int) -> Tensor:
    batch, sequence, _ = x.shape
    return x.reshape(batch, sequence, heads, -1).transpose(1, 2)


@split_heads.axes
def split_heads_axes(op: Op) -> AxisFlow:
    return ((0, 2, None),)


@op("merge_heads", Trait.MOVES)
def merge_heads(x: TensorType) -> TensorType:
    """[batch, heads, sequence, size] to [batch, sequence, heads * size]."""
    require_rank("x", x, 4)
    return TensorType(x.dtype, (x.shape[0], x.shape[2], x.shape[1] * x.shape[3]))


@merge_heads.reference
def merge_heads_reference(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


@merge_heads.axes
def merge_heads_axes(op: Op) -> AxisFlow:
    return ((0, None, 1, None),)


for moving in (iota, dim_value, transpose, expand, concat, split, split_heads, merge_heads):
    moving.cost(_move)


def as_ints(value: Attribute) -> tuple[int, ...]:
    """An attribute that a declaration says is a tuple of integers."""
    assert isinstance(value, tuple)
    return tuple(i for i in value if isinstance(i, int))
