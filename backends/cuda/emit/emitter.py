"""What an emission writes with: launches of kernels on the buffers of a plan."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from graphwright.backends.cuda.emit.variants import Constant, TailVariant, Variant
from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.kernel_library import Kernel, KernelLibrary, Problem, Settings
from graphwright.backends.plan import Access, Buffer, Definition, Given, Launch, Stage, Stored, Temporary, defined
from graphwright.ir.dims import Dim
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.types import DType, TensorType
from graphwright.ir.weights import Weight

TRITON_TYPES = {
    DType.F16: "fp16",
    DType.BF16: "bf16",
    DType.F32: "fp32",
    DType.I64: "i64",
    DType.I32: "i32",
    DType.I8: "i8",
    DType.U8: "u8",
    # As bytes: not every architecture has numbers of these types.
    DType.F8E4M3: "u8",
    DType.F8E5M2: "u8",
    DType.BOOL: "i1",
}

FEW = 16
"""Rows of which one block of threads takes all."""
Variants = dict[str, Variant | TailVariant]


class Emitter:
    """One graph on its way into a plan. `variants` are shared with other graphs, by name."""

    def __init__(self, graph: Graph, library: KernelLibrary, variants: Variants) -> None:
        assert isinstance(library.device, Gpu), "the library of a GPU"
        self.graph, self.library, self.variants = graph, library, variants
        self.gpu = library.device
        self.definitions: dict[str, Definition] = {}
        self.launches: list[Launch] = []
        self.weights: dict[str, Weight] = {}
        self.buffers: dict[Value, Buffer] = {}
        self.settings: Settings = {}
        """The values of the choices of the kernel that is being emitted."""
        self.counters: Temporary | None = None
        """Zeros in which programs of a launch count who is there, once there are any."""
        self._kernel: Kernel | None = None
        self._stored: dict[str, Stored] = {}
        self._stages: list[Stage] = []
        self._temporaries = 0

    def emit(self, op: Op) -> None:
        """Writes an op by the first kernel that takes it. Raises `UnsupportedError`."""
        kernel = self._kernel = self.library.kernel_for(op)
        self.settings = self.library.settings(kernel, Problem.of(self.gpu, op))
        self._stages = []
        kernel.load()(self, op)
        if self._stages:
            self.launches.append(Launch(op, tuple(self._stages), kernel.name, tuple(self.settings.items())))

    # -- memory

    def buffer(self, value: Value) -> Buffer:
        """The memory of a value: that of a weight, or what it was bound to."""
        if value.weight is not None:
            return self.stored(value.weight)
        return self.buffers[value]

    def laid_out(self, op: Op, name: str) -> dict[str, Buffer]:
        """The arrays of an operand that is a weight, in the layout in which the kernel reads it, by their names."""
        weight = op.required(name).weight
        assert weight is not None, f"{name} is computed in the graph"
        assert self._kernel is not None, "an op is being emitted"
        arrays = self._kernel.layouts[name].pack(weight.expression)
        return {
            part: self.stored(Weight(f"{weight.name}.{part}", array), weight.name) for part, array in arrays.items()
        }

    def bind(self, value: Value, buffer: Buffer) -> None:
        """Says that a value is in a buffer that there is: a view, or what is changed in place."""
        self.buffers[value] = buffer

    def make(self, value: Value) -> Buffer:
        """Memory for a value: the caller's for an output, else of the workspace."""
        names = [name for name, each in self.graph.outputs.items() if each is value]
        if names:
            taken = {str(v.name) for v in self.graph.inputs}
            assert names[0] not in taken, f"an input is called {names[0]} too"
            made: Buffer = Given(names[0], value.tensor)
        else:
            made = self.temporary(value.tensor)
        self.buffers[value] = made
        return made

    def temporary(self, type: TensorType) -> Temporary:
        self._temporaries += 1
        return Temporary(f"t{self._temporaries - 1}", type)

    def give(self, buffer: Temporary, name: str, type: TensorType) -> Given:
        """Makes the caller's memory of what was the workspace's, wherever it is used."""
        given = Given(name, type)

        def changed(access: Access) -> Access:
            return replace(access, buffer=given) if access.buffer is buffer else access

        def moved(stage: Stage) -> Stage:
            return replace(stage, accesses=tuple(map(changed, stage.accesses)))

        self.buffers = {value: given if each is buffer else each for value, each in self.buffers.items()}
        self.launches = [replace(each, stages=tuple(map(moved, each.stages))) for each in self.launches]
        return given

    def stored(self, weight: Weight, of: str | None = None) -> Stored:
        """The memory of a weight, or of an array that `of`, a weight, is laid out as."""
        if weight.name not in self._stored:
            if not isinstance(weight.type, TensorType):
                raise UnsupportedError(f"weight '{weight.name}' is {weight.type}: no kernel reads it")
            self.weights[weight.name] = weight
            self._stored[weight.name] = Stored(weight.name, weight.type, of or weight.name, 0)
        return self._stored[weight.name]

    # -- sizes

    def quotient(self, size: Dim, step: int) -> Dim:
        """size / step, rounded up."""
        exact = size.exact_div(step)
        return defined(self.definitions, "floordiv", size + step - 1, Dim.of(step)) if exact is None else exact

    # -- launches

    def add(self, variant: Variant | TailVariant, stage: Stage) -> None:
        """One launch of a variant, which is the function of the stage."""
        self.variants[variant.name] = variant
        self._stages.append(stage)

    def launch(
        self,
        body: str,
        programs: Dim | int,
        pointers: Mapping[str, Buffer | None],
        sizes: Mapping[str, Dim | int],
        constants: Mapping[str, Constant],
        *,
        writes: tuple[str, ...],
        updates: tuple[str, ...] = (),
        warps: int = 4,
        stages: int = 3,
    ) -> None:
        """One stage: so many programs of a kernel. Pointers and sizes are in the order of its parameters.

        A pointer that is None becomes a constant None. What is in `writes` is only written, in `updates` changed in
        part.
        """
        given = {name: buffer for name, buffer in pointers.items() if buffer is not None}
        parameters = [(name, f"*{_triton_type(buffer.type.dtype)}") for name, buffer in given.items()]
        parameters += [(name, "i32") for name in sizes]
        fixed: dict[str, Constant] = {name: None for name, buffer in pointers.items() if buffer is None}
        variant = self._variant(body, tuple(parameters), {**fixed, **constants}, warps, stages, (*writes, *updates))
        accesses = tuple(
            Access(buffer, name not in writes, name in writes or name in updates) for name, buffer in given.items()
        )
        numbers = tuple((Dim.of(size), DType.I32) for size in sizes.values())
        self._stages.append(Stage(variant, Dim.of(programs), accesses, numbers))

    def _variant(
        self,
        body: str,
        parameters: tuple[tuple[str, str], ...],
        constants: Mapping[str, Constant],
        warps: int,
        stages: int,
        written: tuple[str, ...],
    ) -> str:
        fixed = {**constants, "PDL": self.gpu.starts_early}
        said = repr((body, parameters, sorted(fixed.items()), warps, stages, written))
        name = f"{body.partition(':')[2]}_{hashlib.sha256(said.encode()).hexdigest()[:12]}"
        self.variants[name] = Variant(name, body, parameters, tuple(fixed.items()), warps, stages, written)
        return name


def _triton_type(dtype: DType) -> str:
    if dtype not in TRITON_TYPES:
        raise UnsupportedError(f"the CUDA backend has no tensors of {dtype}")
    return TRITON_TYPES[dtype]


def power_of_two(size: int) -> int:
    """The next power of two, at least 16: what a product of tiles takes."""
    return max(16, 1 << (size - 1).bit_length())


def fixed(size: Dim, what: str) -> int:
    """A size that is a number. Raises `UnsupportedError` for one that depends on a dimension."""
    if size.constant is None:
        raise UnsupportedError(f"{what} is {size}, it must be a fixed number")
    return size.constant
