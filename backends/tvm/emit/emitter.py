"""What an emission writes with: calls of kernels on memory, sizes and weights of the graph that is lowered."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from graphwright.backends.element_types import DTYPES, MANIFEST_NAMES
from graphwright.backends.kernel_library import Kernel, OperandLayout, Problem, Settings
from graphwright.backends.tvm.emit.kernel_module import KernelModule
from graphwright.backends.tvm.library.choices import LOOPS
from graphwright.backends.tvm.library.layouts import WIDE
from graphwright.backends.tvm.sizes import Sizes
from graphwright.backends.tvm.tvm_library import te, tirx, topi, tvm
from graphwright.ir.dims import Dim, product
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.types import DType, TensorType
from graphwright.ir.weights import Weight

LOOP_DEFAULTS = {choice.name: choice.default_for(Problem(None)) for choice in LOOPS}
"""Of loops that a kernel without these choices needs besides, to convert numbers."""


@dataclass(eq=False)
class Memory:
    """What will be a buffer of the plan: a tensor of the caller's if it has a name, a weight's, or a temporary."""

    type: TensorType
    given: str | None = None
    weight: Weight | None = None
    """The weight as the weights file holds it."""
    of: str | None = None
    """The weight of the graph that `weight` is, or is a part of."""


@dataclass(frozen=True)
class Tensor:
    """An array as a kernel takes it: some memory, and the type and shape that it is read in."""

    memory: Memory
    type: TensorType


@dataclass(frozen=True)
class KernelCall:
    """A kernel of the module, by name, on tensors; dimensions are passed as numbers."""

    kernel: str
    arguments: tuple[Tensor | Dim, ...]


@dataclass(frozen=True)
class Calls:
    """One op as calls of kernels in order, and the declared kernel that makes them, with its choices."""

    op: Op
    kernel: str
    settings: Settings
    calls: list[KernelCall] = field(default_factory=list[KernelCall])


class Emitter:
    """One graph on its way into a plan. The `kernels` and `weights`, in the form in which kernels read them and by
    name, are shared with other graphs."""

    def __init__(self, graph: Graph, kernels: KernelModule, weights: dict[str, Weight]) -> None:
        self.graph, self.kernels, self.weights = graph, kernels, weights
        self.sizes = Sizes()
        self.launches: list[Calls] = []
        self._values: dict[Value, Tensor] = {}
        self._stored: dict[str, Tensor] = {}
        self._singles: dict[Value, Tensor] = {}
        self._declared: Kernel | None = None
        self.settings: Settings = {}
        """The values of the choices of the kernel that is being emitted."""

    def emit(self, op: Op) -> None:
        """Writes an op by the first kernel that takes it. Raises `UnsupportedError`."""
        self._singles.clear()
        library = self.kernels.library
        self._declared = kernel = library.kernel_for(op)
        problem = Problem.of(self.kernels.cpu, op)
        self.settings = library.settings(kernel, problem, self.kernels.chosen.get(kernel.name, {}))
        self.launches.append(Calls(op, kernel.name, self.settings))
        kernel.load()(self, op)

    # -- reading the graph

    def dim(self, dim: Dim) -> Any:
        """A size, as a number or an expression over the graph's dimensions."""
        return self.sizes.expression(dim)

    def shape(self, dims: Iterable[Dim]) -> list[Any]:
        return self.sizes.shape(dims)

    def value(self, value: Value) -> Tensor:
        """The tensor that holds a value: what its op's emission left, or the plain form of a weight."""
        return self._values[value] if value.weight is None else self.weight(value.weight)

    def holds(self, value: Value) -> bool:
        """Whether anything holds a value yet."""
        return value in self._values

    # -- writing

    def bind(self, value: Value, tensor: Tensor) -> None:
        """Says which tensor holds a value."""
        self._values[value] = tensor

    def te(self, function: Callable[..., Any], *arguments: Tensor) -> Tensor:
        """A tensor that holds what a function of tensor expressions computes of the arguments.

        Expressions may use all sizes of the graph, not only those of the arguments.
        """
        tensors = [te.placeholder(self.shape(a.type.shape), type_name(a.type.dtype), "x") for a in arguments]
        made = function(*tensors)
        sizes = self._passed(te.create_prim_func([*tensors, made], "int64"), [*tensors, made])
        variables = [self.sizes.variable(name) for name in sizes]
        code = te.create_prim_func([*tensors, *variables, made], "int64").without_attr("global_symbol")
        shape = tuple(self.sizes.dimension(size, {}) for size in made.shape)
        result = self._temporary(TensorType(DTYPES[str(made.dtype)], shape))
        loops = {name: self.settings.get(name, value) for name, value in LOOP_DEFAULTS.items()}
        self._call(self.kernels.loops(made.op.name, code, loops), (*arguments, *map(Dim.of, sizes), result))
        return result

    def _passed(self, code: Any, tensors: Sequence[Any]) -> list[str]:
        """The symbols in a function whose values are not to be read off its tensors' shapes."""
        shapes = [size for tensor in tensors for size in tensor.shape]
        statements = [code.body, *(tirx.Evaluate(size) for size in shapes)]
        used = {hash(v) for each in statements for v in tirx.analysis.undefined_vars(each, [])}
        bound = {hash(size) for size in shapes if isinstance(size, tvm.ir.Var)}
        return [name for name, v in self.sizes.variables.items() if hash(v) in used - bound]

    def kernel(
        self,
        make: Callable[..., Any],
        arguments: Sequence[Tensor],
        results: Sequence[TensorType],
        *,
        in_place: Sequence[int] | None = None,
        **parameters: Any,
    ) -> list[Tensor]:
        """Calls the kernel that `make(cpu, **parameters)` writes; the tensors of its results, of the given types.

        Result i is a new tensor, or, where `in_place` says so, argument `in_place[i]` (-1: new), which it changes.
        """
        reused = [-1] * len(results) if in_place is None else in_place
        made = [
            self._temporary(type) if index < 0 else Tensor(arguments[index].memory, type)
            for type, index in zip(results, reused, strict=True)
        ]
        fresh = [result for result, index in zip(made, reused, strict=True) if index < 0]
        self._call(self.kernels.kernel(make, parameters), (*arguments, *fresh))
        return made

    def permuted(self, x: Tensor, permutation: Sequence[int]) -> Tensor:
        """A copy with its axes in another order."""
        return self.te(partial(topi.transpose, axes=list(permutation)), x)

    def converted(self, x: Tensor, dtype: DType) -> Tensor:
        """A tensor with its numbers as another type; itself if it has that type."""
        return x if x.type.dtype is dtype else self.te(partial(topi.cast, dtype=type_name(dtype)), x)

    def single(self, value: Value) -> Tensor:
        """A value as kernels read it: narrow floats as float32, which the reference computes them in too.

        Raises `UnsupportedError` for float64.
        """
        type = value.tensor
        if not type.dtype.is_float or type.dtype is DType.F32:
            return self.value(value)
        self._refuse_double(type)
        if value.weight is not None:
            # Converted once, when the weights file is written.
            (floats,) = self._arrays(value.weight, WIDE)
            return floats
        if value not in self._singles:
            self._singles[value] = self.converted(self.value(value), DType.F32)
        return self._singles[value]

    def wide(self, value: Value) -> Tensor:
        """A value as the reference computes with it: narrow floats as float32."""
        # TVM's own arithmetic of bfloat16 is wrong in places.
        return self.single(value) if value.tensor.dtype in (DType.F16, DType.BF16) else self.value(value)

    def single_type(self, type: TensorType) -> TensorType:
        """The type of a result that a kernel computes in float32. Raises `UnsupportedError` for float64."""
        self._refuse_double(type)
        return type.with_dtype(DType.F32)

    def _refuse_double(self, type: TensorType) -> None:
        if type.dtype is DType.F64:
            raise UnsupportedError(f"its kernel computes f32, this is {type.dtype}")

    def computed(self, value: Value, tensor: Tensor) -> None:
        """The tensor, what a kernel computed in float32, holds the value once it is rounded to the value's type."""
        self.bind(value, self.converted(tensor, value.tensor.dtype))

    def viewed(self, x: Tensor, type: TensorType) -> Tensor:
        """The same memory as another type, which has as many bytes."""
        type_name(type.dtype)
        return Tensor(x.memory, type)

    def reshape(self, x: Tensor, shape: Iterable[Dim]) -> Tensor:
        """The same memory in another shape."""
        return Tensor(x.memory, x.type.with_shape(*shape))

    def flatten(self, x: Tensor) -> Tensor:
        """A tensor as rows [M, size] of its last axis."""
        return Tensor(x.memory, flat_type(x.type))

    def weight(self, weight: Weight, of: str | None = None) -> Tensor:
        """A weight as the step reads it from the weights file; `of` is the graph's weight that it is a form of."""
        known = self._stored.get(weight.name)
        if known is None:
            assert self.weights.setdefault(weight.name, weight).expression == weight.expression
            assert isinstance(weight.type, TensorType), f"'{weight.name}' is {weight.type}: its kernel packs it"
            type_name(weight.type.dtype)
            memory = Memory(weight.type, weight=weight, of=of or weight.name)
            known = self._stored[weight.name] = Tensor(memory, weight.type)
        return known

    def laid_out(self, op: Op, name: str) -> list[Tensor]:
        """The arrays of an operand that is a weight, in the layout in which the kernel reads it."""
        weight = op.required(name).weight
        assert weight is not None, f"{name} is computed in the graph"
        assert self._declared is not None, "an op is being emitted"
        return self._arrays(weight, self._declared.layouts[name])

    def _arrays(self, weight: Weight, layout: OperandLayout) -> list[Tensor]:
        arrays = layout.pack(weight.expression).items()
        return [self.weight(Weight(f"{weight.name}.{part}", array), weight.name) for part, array in arrays]

    def _temporary(self, type: TensorType) -> Tensor:
        type_name(type.dtype)
        return Tensor(Memory(type), type)

    def _call(self, kernel: str, arguments: tuple[Tensor | Dim, ...]) -> None:
        self.launches[-1].calls.append(KernelCall(kernel, arguments))


def type_name(dtype: DType) -> str:
    """TVM's name of an element type. Raises `UnsupportedError` for one that it has not."""
    if dtype not in MANIFEST_NAMES:
        raise UnsupportedError(f"the TVM backend has no tensors of {dtype}")
    return MANIFEST_NAMES[dtype]


def flat_type(type: TensorType) -> TensorType:
    """The type of a tensor as rows [M, size] of its last axis."""
    return type.with_shape(product(type.shape[:-1]), type.shape[-1])


def row_count(shape: Sequence[Dim]) -> int | None:
    """How many rows of the last axis a shape has, None where that depends on a dimension."""
    return product(shape[:-1]).constant
