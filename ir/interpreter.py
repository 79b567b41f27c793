"""The reference interpreter: runs a graph op by op with torch. Slow, simple, and what everything else is compared with.

Two precisions. "reference" evaluates each op in float32 (or the op's own wider type) and rounds its result to the
declared element type, so sums accumulate in float32. "float64" ignores declared float types and carries doubles
throughout: the value that the graph means, up to rounding nobody will see.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from graphwright.ir.attributes import Attribute, evaluate
from graphwright.ir.declare import OpDef
from graphwright.ir.dims import Dim
from graphwright.ir.errors import UserError
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.lazy import torch
from graphwright.ir.quantized import Parts
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import DType, QuantizedType, Type
from graphwright.ir.weights import WeightExpression

if TYPE_CHECKING:
    from torch import Tensor


Precision = Literal["reference", "float64"]

COMPUTED = "dtype"
"""The attribute that says in which type an op computes; other types that ops name are those of codes and scales."""


def apply_reference(
    definition: OpDef,
    operands: Sequence[Tensor | None],
    attributes: Mapping[str, Attribute],
    types: Sequence[Type],
    bindings: Mapping[str, int],
    precision: Precision = "reference",
) -> list[Tensor]:
    """One op's results by its reference. `types` are the declared result types; `bindings` gives symbols values."""
    settled = {name: evaluate(value, bindings) for name, value in attributes.items()}
    if precision == "float64":
        dtype = settled.get(COMPUTED)
        if isinstance(dtype, DType) and dtype.is_float:
            settled[COMPUTED] = DType.F64
        widened = [_double(v) for v in operands]
    elif definition.view:
        widened = list(operands)
    else:
        widened = [_single(v) for v in operands]
    result: Tensor | tuple[Tensor, ...] = definition.evaluate(widened, settled)
    results = result if isinstance(result, tuple) else (result,)
    return [_rounded(value, type, precision) for value, type in zip(results, types, strict=True)]


def _rounded(value: Any, type: Type, precision: Precision) -> Any:
    if isinstance(type, QuantizedType):
        return value.typed(type) if isinstance(value, Parts) else value
    return value.double() if precision == "float64" and type.dtype.is_float else value.to(torch_dtype(type.dtype))


def _double(value: Any) -> Any:
    """Floats as doubles; anything else, a quantized tensor too, as it is."""
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _single(value: Any) -> Any:
    """Floats narrower than float32 as float32; anything else as it is."""
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in _narrow() else value


@cache
def _narrow() -> tuple[Any, ...]:
    return (torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu)


def bind_symbols(graph: Graph, inputs: Mapping[str, Tensor]) -> dict[str, int]:
    """The value of every symbol of the graph, read off the inputs' shapes; raises `UserError` where they disagree."""
    bindings: dict[str, int] = {}
    sizes: list[tuple[Value, Dim, int]] = []
    for value in graph.inputs:
        assert value.name is not None
        if value.name not in inputs:
            raise UserError(f"graph '{graph.name}': input '{value.name}' ({value.type}) is missing")
        shape = tuple(inputs[value.name].shape)
        if len(shape) != value.type.rank:
            raise UserError(f"input '{value.name}' has shape {list(shape)}, expected {value.type}")
        for dim, size in zip(value.type.shape, shape, strict=True):
            sizes.append((value, dim, size))
            if dim.terms == (((symbol := str(dim),), 1),):
                bindings.setdefault(symbol, size)
    for value, dim, size in sizes:
        wanted = dim.substitute(bindings)
        if wanted != size:
            known = f", which is {wanted} here" if dim is not wanted else ""
            raise UserError(f"input '{value.name}' ({value.type}): {dim}{known}, was given as {size}")
    return bindings


def check_dtypes(graph: Graph, inputs: Mapping[str, Tensor], precision: Precision) -> None:
    """Raises `UserError` where an input's element type is not the declared one; at float64 any float will do."""
    for value in graph.inputs:
        given, wanted = inputs[value.name or ""], value.tensor.dtype
        if given.dtype is not torch_dtype(wanted) and not (
            precision == "float64" and wanted.is_float and given.is_floating_point()
        ):
            raise UserError(f"input '{value.name}' is {str(given.dtype).removeprefix('torch.')}, expected {value.type}")


class Interpreter:
    """Runs graphs of a program. Weights are evaluated once and kept while the interpreter lives."""

    def __init__(self, precision: Precision = "reference") -> None:
        self.precision: Precision = precision
        self._weights: dict[WeightExpression, Tensor] = {}

    def run(self, graph: Graph, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name. A state is an input and an output like any other: the cache before and after."""
        values = self.run_values(graph, inputs, list(graph.outputs.values()))
        return dict(zip(graph.outputs, values, strict=True))

    def run_values(self, graph: Graph, inputs: Mapping[str, Tensor], wanted: Sequence[Value]) -> list[Tensor]:
        """The named values; only the ops that they need are run."""
        bindings = bind_symbols(graph, inputs)
        check_dtypes(graph, inputs, self.precision)
        environment: dict[Value, Tensor] = {v: inputs[v.name] for v in graph.inputs if v.name is not None}
        return self.run_cone(environment, wanted, bindings)

    def run_cone(
        self, known: Mapping[Value, Tensor], wanted: Sequence[Value], bindings: Mapping[str, int]
    ) -> list[Tensor]:
        """The wanted values computed from known ones, which need not be inputs; `bindings` gives symbols values."""
        environment = {v: self._settle(t) for v, t in known.items()}
        ops = cone(wanted, environment.keys())
        last: dict[Value, Op] = {v: op for op in ops for v in op.inputs}
        kept = set(wanted) | set(known)
        with torch.no_grad():
            for op in ops:
                operands = [None if v is None else self._read(v, environment) for v in op.operands]
                results = self.run_op(op, operands, bindings)
                _check_shapes(op, results, bindings)
                environment.update(zip(op.results, results, strict=True))
                for value in op.inputs:
                    if last[value] is op and value not in kept:
                        environment.pop(value, None)
            return [self._read(v, environment) for v in wanted]

    def run_op(self, op: Op, operands: Sequence[Tensor | None], bindings: Mapping[str, int]) -> list[Tensor]:
        """One op's results; a subclass may watch them, or compute them otherwise."""
        types = [v.type for v in op.results]
        return apply_reference(op.definition, operands, op.attributes, types, bindings, self.precision)

    def _read(self, value: Value, environment: Mapping[Value, Tensor]) -> Tensor:
        if value in environment:
            return environment[value]
        assert value.weight is not None, f"{value} is read before it is known"
        expression = value.weight.expression
        if expression not in self._weights:
            self._weights[expression] = self._settle(value.weight.evaluate())
        return self._weights[expression]

    def _settle(self, value: Tensor) -> Tensor:
        return _double(value) if self.precision == "float64" else value


def _check_shapes(op: Op, results: Sequence[Tensor], bindings: Mapping[str, int]) -> None:
    """A slice that reaches past a symbolic length is found only here."""
    for value, result in zip(op.results, results, strict=True):
        for dim, size in zip(value.type.shape, result.shape, strict=True):
            if dim.constant != size and dim.substitute(bindings).constant not in (None, size):
                raise UserError(f"{op.name} at {op.location or '?'} gives {list(result.shape)}, declared {value.type}")


def cone(wanted: Sequence[Value], known: object = ()) -> list[Op]:
    """The ops that the wanted values need, in an order that can be run; known values are not looked behind."""
    stop: Any = known
    ordered: list[Op] = []
    entered: set[Op] = set()
    stack: list[tuple[Op, bool]] = [(v.owner, False) for v in reversed(wanted) if v.owner is not None and v not in stop]
    while stack:
        op, done = stack.pop()
        if done:
            ordered.append(op)
        elif op not in entered:
            entered.add(op)
            stack.append((op, True))
            stack.extend((v.owner, False) for v in reversed(op.inputs) if v.owner is not None and v not in stop)
    return ordered


def run(graph: Graph, inputs: Mapping[str, Tensor], precision: Precision = "reference") -> dict[str, Tensor]:
    """The outputs of a graph on torch tensors; see `Interpreter`."""
    return Interpreter(precision).run(graph, inputs)


__all__ = ["Interpreter", "Precision", "apply_reference", "bind_symbols", "cone", "run", "torch_dtype"]


SMALL = 1e9
"""FLOPs of a row below which the interpreter's ops are too small to be shared out."""


@contextmanager
def threads_for(flops: float) -> Generator[None]:
    """One thread for small work, torch's own number for large."""
    before = torch.get_num_threads()
    if flops < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
