"""What type rules and axis flows share."""

from graphwright.ir.declare import AxisFlow
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.types import DType, TensorType, Type

ONE = Dim.of(1)
Shape = tuple[Dim, ...]


def broadcast(*shapes: Shape) -> Shape:
    """The shape of an elementwise result, aligned at the right; dimensions must be equal or 1."""
    result: list[Dim] = list(max(shapes, key=len))
    for shape in shapes:
        offset = len(result) - len(shape)
        for i, dim in enumerate(shape, offset):
            if result[i] is ONE:
                result[i] = dim
            elif dim is not ONE and dim is not result[i]:
                listed = " and ".join(f"[{', '.join(map(str, s))}]" for s in shapes)
                raise IRTypeError(f"shapes {listed} do not broadcast: {result[i]} against {dim}")
    return tuple(result)


def same_dtype(*types: TensorType) -> None:
    for other in types[1:]:
        if other.dtype is not types[0].dtype:
            raise IRTypeError(f"element types differ: {types[0].dtype} and {other.dtype}")


def require_rank(name: str, type: Type, rank: int) -> None:
    if type.rank != rank:
        raise IRTypeError(f"{name} must have {rank} axes, it is {type}")


def require_float(name: str, type: TensorType) -> None:
    if not type.dtype.is_float:
        raise IRTypeError(f"{name} must be floating point, it is {type}")


def require_nothing(name: str, type: TensorType) -> None:
    """For ops that take any element type."""


def require_number(name: str, type: TensorType) -> None:
    if type.dtype is DType.BOOL:
        raise IRTypeError(f"{name} must hold numbers, it is {type}")


def require_bool(name: str, type: TensorType) -> None:
    if type.dtype is not DType.BOOL:
        raise IRTypeError(f"{name} must be bool, it is {type}")


def require_indices(name: str, type: TensorType, rank: int | None = None) -> None:
    """Token ids, positions and lengths."""
    if type.dtype is not DType.I64:
        raise IRTypeError(f"{name} must be i64, it is {type}")
    if rank is not None:
        require_rank(name, type, rank)


def last(name: str, type: TensorType) -> Dim:
    """The length of the last axis."""
    if not type.shape:
        raise IRTypeError(f"{name} must have an axis, it is {type}")
    return type.shape[-1]


def require_equal(what: str, a: Dim, b: Dim) -> None:
    if a is not b:
        raise IRTypeError(f"{what}: {a} and {b} differ")


def normal_axis(axis: int, rank: int) -> int:
    """An axis counted from the front; negative ones count from the end."""
    if not -rank <= axis < rank:
        raise IRTypeError(f"axis {axis} is outside a tensor of {rank} axes")
    return axis % rank


def aligned_right(op: Op) -> AxisFlow:
    """Elementwise: axis i from the right becomes axis i from the right, except where an axis of 1 is stretched."""
    result = op.results[0].type
    flows: list[tuple[int | None, ...]] = []
    for value in op.inputs:
        offset = result.rank - value.type.rank
        flows.append(
            tuple(i + offset if dim is result.shape[i + offset] else None for i, dim in enumerate(value.type.shape))
        )
    return tuple(flows)


def keep_but(op: Op, *mixed: int) -> AxisFlow:
    """The first operand's axes stay where they are except `mixed`; other operands' axes are mixed."""
    x = op.inputs[0].type
    gone = {m % x.rank for m in mixed}
    first = tuple(None if i in gone else i for i in range(x.rank))
    return (first, *((None,) * v.type.rank for v in op.inputs[1:]))
