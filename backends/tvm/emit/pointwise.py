"""How an op is written whose result depends, element by element, on its operands."""

from collections.abc import Callable, Sequence
from typing import Any

from graphwright.backends.tvm.emit.emitter import Emitter, Tensor, type_name
from graphwright.backends.tvm.tvm_library import te
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op, Value
from graphwright.ir.types import TensorType

ONE = Dim.of(1)


def pointwise(e: Emitter, op: Op, function: Callable[..., Any]) -> None:
    """The op's only result: of each element a function of the operands', which broadcast.

    The function takes and gives expressions; narrow floats come to it as float32.
    """
    result = op.result.tensor
    e.bind(op.result, computed(e, op.name, function, op.inputs, result))


def computed(
    e: Emitter, name: str, function: Callable[..., Any], operands: Sequence[Value], result: TensorType
) -> Tensor:
    """A tensor of that type of which each element is a function of those of the operands, which broadcast."""
    shape, dtype = e.shape(result.shape), type_name(result.dtype)
    types = [v.tensor for v in operands]

    def compute(*tensors: Any) -> Any:
        def element(*index: Any) -> Any:
            elements = (t(*aligned(index, type.shape)) for t, type in zip(tensors, types, strict=True))
            return function(*elements).astype(dtype)

        return te.compute(shape, element, name=name)

    return e.te(compute, *map(e.wide, operands))


def aligned(index: Sequence[Any], shape: Sequence[Dim]) -> list[Any]:
    """The index of an operand of that shape, which broadcasts to a result with the given index."""
    last = index[len(index) - len(shape) :]
    return [0 if size is ONE else i for i, size in zip(last, shape, strict=True)]
