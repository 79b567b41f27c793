"""What an emission writes with: values, sizes, weights and kernels of the Relax function that is being built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphwright.backends.element_types import MANIFEST_NAMES
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.tvm_library import relax, te, tirx, topi, tvm
from graphwright.ir.dims import Dim, product
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.types import DType, QuantizedType, StateType, TensorType
from graphwright.ir.weights import Weight, WeightExpression

KERNEL = "graphwright.kernel"
"""An attribute of PrimFuncs that are kernels of ours, whose loops stay as they are written."""
OPAQUE = 8
"""TVM's pattern kind for functions that its fusion leaves alone."""


class Emitter:
    """One graph on its way into a module of Relax and TensorIR.

    `builder` holds the module, which graphs share; `weights` are the weights that functions read, by name, in the form
    in which they read them; `kernels` are those that are in the module already: to write one takes long.
    """

    def __init__(
        self, builder: Any, graph: Graph, cpu: Cpu, weights: dict[str, Weight], kernels: dict[object, Any]
    ) -> None:
        self.builder, self.graph, self.cpu, self.weights = builder, graph, cpu, weights
        self.symbols: dict[str, Any] = {}
        self._values: dict[Value, Any] = {}
        self._parameters: dict[str, Any] = {}
        self._kernels = kernels
        self._made: dict[object, list[Any]] = {}

    # -- reading the graph

    def dim(self, dim: Dim) -> Any:
        """A size, as a number or an expression over the function's dimensions."""
        if dim.constant is not None:
            return tirx.IntImm("int64", dim.constant)
        total: Any = tirx.IntImm("int64", 0)
        for monomial, coefficient in dim.terms:
            product: Any = tirx.IntImm("int64", coefficient)
            for symbol in monomial:
                # TVM folds a product with one, and a sum with nothing.
                product = self.symbol(symbol) * product
            total = product + total
        return total

    def symbol(self, name: str) -> Any:
        """The variable of a dimension."""
        if name not in self.symbols:
            self.symbols[name] = tirx.Var(name, "int64")
        return self.symbols[name]

    def shape(self, dims: Iterable[Dim]) -> list[Any]:
        return [self.dim(d) for d in dims]

    def type(self, type: TensorType | StateType) -> Any:
        """TVM's type of a tensor, or of the buffer of a state. Raises `UnsupportedError` for one that it has not."""
        tensor = type.tensor if isinstance(type, StateType) else type
        if tensor.dtype not in MANIFEST_NAMES:
            raise UnsupportedError(f"the TVM backend has no tensors of {tensor.dtype}")
        return relax.TensorType(self.shape(tensor.shape), MANIFEST_NAMES[tensor.dtype])

    def value(self, value: Value) -> Any:
        """The Relax variable that holds a value: what its op's emission left, or the plain form of a weight."""
        return self._values[value] if value.weight is None else self.weight(value.weight)

    def operand(self, op: Op, name: str) -> Any:
        """The variable of the operand of that name, None if it is absent."""
        value = op.operand(name)
        return None if value is None else self.value(value)

    # -- writing

    def bind(self, value: Value, variable: Any) -> None:
        """Says which variable holds a value."""
        self._values[value] = variable

    def emit(self, expression: Any) -> Any:
        return self.builder.emit(expression)

    def result(self, op: Op, expression: Any) -> None:
        """The op's only result is what the expression computes."""
        self.bind(op.result, self.emit(expression))

    def te(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """A variable that holds what a function of tensor expressions computes of the arguments.

        Unlike in TVM's own `emit_te`, expressions may use all sizes of the graph, not only those of the arguments.
        """
        tensors = [te.placeholder(list(a.ty.shape.values), str(a.ty.dtype), "x") for a in arguments]
        made = function(*tensors)
        types = relax.TensorType(list(made.shape), made.dtype)
        sizes = self._passed(te.create_prim_func([*tensors, made], "int64"), [*tensors, made])
        code = te.create_prim_func([*tensors, *sizes, made], "int64").without_attr("global_symbol")
        name = self.builder.add_func(code, made.op.name)
        return self.emit(relax.call_tir(name, relax.Tuple([*arguments, *sizes]), [types]))

    def _passed(self, code: Any, tensors: Sequence[Any]) -> list[Any]:
        """The sizes in a function that are not to be read off its tensors' shapes."""
        shapes = [size for tensor in tensors for size in tensor.shape]
        statements = [code.body, *(tirx.Evaluate(size) for size in shapes)]
        used = {hash(v) for each in statements for v in tirx.analysis.undefined_vars(each, [])}
        bound = {hash(size) for size in shapes if isinstance(size, tvm.ir.Var)}
        return [v for v in self.symbols.values() if hash(v) in used - bound]

    def once(self, identity: object, make: Callable[[], list[Any]]) -> list[Any]:
        """What `make` writes, written once for all that ask by the same identity."""
        if identity not in self._made:
            self._made[identity] = make()
        return self._made[identity]

    def copied(self, x: Any) -> Any:
        """A copy, which may be changed in place."""
        return self.te(topi.identity, x)

    def converted(self, x: Any, dtype: str) -> Any:
        """A tensor with its numbers as another type."""
        return x if str(x.ty.dtype) == dtype else self.emit(relax.op.astype(x, dtype))

    def single(self, value: Value) -> Any:
        """A value as kernels read it: narrow floats as float32, which the reference computes them in too.

        Raises `UnsupportedError` for float64.
        """
        type = value.type
        assert not isinstance(type, QuantizedType)
        tensor = type.tensor if isinstance(type, StateType) else type
        if not tensor.dtype.is_float or tensor.dtype is DType.F32:
            return self.value(value)
        self._refuse_double(tensor)
        return self.once(("single", value), lambda: [self.converted(self.value(value), "float32")])[0]

    def wide(self, value: Value) -> Any:
        """A value as the reference computes with it: narrow floats as float32."""
        # TVM's own arithmetic of bfloat16 is wrong in places.
        type = value.type.tensor if isinstance(value.type, StateType) else value.tensor
        return self.single(value) if type.dtype in (DType.F16, DType.BF16) else self.value(value)

    def single_type(self, type: TensorType) -> Any:
        """TVM's type of a result that a kernel computes in float32. Raises `UnsupportedError` for float64."""
        self._refuse_double(type)
        return self.type(type.with_dtype(DType.F32))

    def _refuse_double(self, type: TensorType) -> None:
        if type.dtype is DType.F64:
            raise UnsupportedError(f"its kernel computes f32, this is {type.dtype}")

    def computed(self, value: Value, variable: Any) -> None:
        """The variable, what a kernel computed in float32, holds the value once it is rounded to the value's type."""
        self.bind(value, self.converted(variable, MANIFEST_NAMES[value.tensor.dtype]))

    def reshape(self, x: Any, shape: Iterable[Dim]) -> Any:
        """The same memory in another shape."""
        return self.emit(relax.op.reshape(x, self.shape(shape)))

    def flatten(self, x: Any, type: TensorType) -> Any:
        """A tensor as rows [M, size] of its last axis."""
        return self.reshape(x, (product(type.shape[:-1]), type.shape[-1]))

    def flat_type(self, type: TensorType) -> Any:
        """TVM's type of a tensor as rows of its last axis."""
        return self.type(type.with_shape(product(type.shape[:-1]), type.shape[-1]))

    def weight(self, weight: Weight) -> Any:
        """A weight as the step reads it from the weights file: the parameter that stands for it."""
        known = self._parameters.get(weight.name)
        if known is None:
            assert self.weights.setdefault(weight.name, weight).expression == weight.expression
            assert isinstance(weight.type, TensorType), f"'{weight.name}' is {weight.type}: its kernel packs it"
            known = relax.Var(f"weight.{weight.name}", self.type(weight.type))
            self._parameters[weight.name] = known
        return known

    def packed(self, weight: Weight, suffix: str, expression: WeightExpression) -> Any:
        """Another form of a weight, made when the file is written: the parameter that stands for it."""
        return self.weight(Weight(f"{weight.name}.{suffix}", expression))

    def kernel(
        self,
        make: Callable[..., Any],
        arguments: Sequence[Any],
        results: Sequence[Any],
        *,
        in_place: Sequence[int] | None = None,
        **parameters: Any,
    ) -> list[Any]:
        """Calls the kernel that `make(cpu, **parameters)` writes; the variables of its results, of the given types.

        Result i is a new tensor, or, where `in_place` says so, argument `in_place[i]` (-1: new), which it changes.
        """
        identity = (make, tuple(sorted(parameters.items())))
        name = self._kernels.get(identity)
        if name is None:
            function = make(self.cpu, **parameters)
            marks = {KERNEL: True, "op_pattern": OPAQUE}
            for mark, value in marks.items():
                function = function.with_attr(mark, value)
            name = self._kernels[identity] = self.builder.add_func(function, make.__name__)
        types = list(results)
        if in_place is None:
            called = self.emit(relax.call_tir(name, relax.Tuple(list(arguments)), types))
        else:
            called = self.emit(relax.op.call_tir_inplace(name, relax.Tuple(list(arguments)), list(in_place), types))
        if len(types) == 1:
            return [called]
        return [self.emit(relax.TupleGetItem(called, i)) for i in range(len(types))]

    # -- the function

    @property
    def parameters(self) -> list[tuple[str, Any]]:
        """The weights that the function reads, by name, in the order of its parameters behind the graph's inputs."""
        return list(self._parameters.items())


def row_count(shape: Sequence[Dim]) -> int | None:
    """How many rows of the last axis a shape has, None where that depends on a dimension."""
    return product(shape[:-1]).constant
