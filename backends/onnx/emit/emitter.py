"""What emission functions write with: nodes, constants, names of values, and dimensions as tensors."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from graphwright.backends.onnx.element_types import ONNX_TYPES
from graphwright.backends.weights_file import raw_bytes, weight_bytes
from graphwright.ir.declare import OpDef
from graphwright.ir.dims import Dim
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.lazy import torch
from graphwright.ir.torch_types import dtype_of
from graphwright.ir.types import DType, QuantizedType, TensorType, tensor
from graphwright.ir.weights import Weight

if TYPE_CHECKING:
    from torch import Tensor


MICROSOFT = "com.microsoft"
INLINE_LIMIT = 1024
"""Weights below this many bytes are kept in the model file: a page each would be waste."""


class Emitter:
    """Collects the nodes of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[NodeProto] = []
        self.inline: list[TensorProto] = []
        self.external: list[Weight] = []
        self._names: dict[Value, str] = {}
        self._taken: set[str] = set()
        self._constants: dict[tuple[DType, tuple[int, ...], bytes], str] = {}
        self._dims: dict[Dim, str] = {}
        self._location = ""
        for value in graph.inputs:
            assert value.name is not None
            self._names[value] = value.name
            self._taken.add(value.name)
        for name, value in graph.outputs.items():
            self._taken.add(name)
            if value.owner is not None:
                self._names.setdefault(value, name)
        for value in graph.weights:
            assert value.name is not None
            if value.name in self._taken:
                raise UnsupportedError(f"weight '{value.name}' has the name of an input or output of the graph")
            self._taken.add(value.name)

    # -- nodes

    def at(self, op: Op) -> None:
        """Nodes from now on belong to this op."""
        self._location = op.location or self.graph.name

    def node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """An intermediate node with one output; returns the output's name."""
        output = self._fresh(kind)
        self._add(kind, inputs, [output], domain, attributes)
        return output

    def results(self, op: Op, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> None:
        """The node whose outputs are the op's results."""
        self._add(kind, inputs, [self.name(v) for v in op.results], domain, attributes)

    def outputs(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Any
    ) -> None:
        """A node whose outputs are given; an empty name leaves an optional one out."""
        self._add(kind, inputs, outputs, domain, attributes)

    def _add(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str, attributes: dict[str, Any]
    ) -> None:
        last = max((i for i, name in enumerate(inputs) if name), default=-1)
        name = self._fresh(f"{kind}.node")
        self.nodes.append(helper.make_node(kind, inputs[: last + 1], outputs, name=name, domain=domain, **attributes))

    def scan(
        self,
        body: Callable[[Sequence[str], Sequence[str]], tuple[str, str]],
        states: Sequence[str],
        sequences: Mapping[str, int],
        dtype: DType,
        axis: int,
    ) -> tuple[str, str]:
        """A Scan with one state: its last value, and the results of the steps stacked along the axis.

        `sequences` gives of each the axis that steps go along. `body` takes the names of state and of the sequences at
        one step, and gives those of the next state and of the step's result. It sees all values made before; shapes
        that it needs must be among them.
        """
        outer, self.nodes = self.nodes, []
        given = [self._fresh("Scan.state") for _ in states], [self._fresh("Scan.element") for _ in sequences]
        results = body(*given)
        inner, self.nodes = self.nodes, outer

        def info(names: Iterable[str]) -> list[ValueInfoProto]:
            return [helper.make_tensor_value_info(name, ONNX_TYPES[dtype], None) for name in names]

        graph = helper.make_graph(inner, self._fresh("Scan.body"), info((*given[0], *given[1])), info(results))
        outputs = self._fresh("Scan.last"), self._fresh("Scan.stack")
        attributes = {"num_scan_inputs": len(sequences), "scan_input_axes": list(sequences.values())}
        self._add("Scan", [*states, *sequences], outputs, "", {**attributes, "scan_output_axes": [axis], "body": graph})
        return outputs

    # -- subgraphs

    @contextmanager
    def body(self) -> Generator[list[NodeProto]]:
        """While this lasts, nodes go to the list that it gives: the body of a loop, which sees every name outside."""
        outer, dims = self.nodes, dict(self._dims)
        self.nodes = []
        try:
            yield self.nodes
        finally:
            # What was computed inside is not to be had outside.
            self.nodes, self._dims = outer, dims

    def fresh(self, stem: str) -> str:
        """A name that nothing has yet."""
        return self._fresh(stem)

    # -- names

    def name(self, value: Value) -> str:
        """The tensor that holds a value; a weight becomes an initializer when it is first named."""
        if value not in self._names:
            if value.weight is not None:
                self._names[value] = self._initializer(value.weight)
            else:
                assert value.owner is not None
                self._names[value] = self._fresh(value.owner.name)
        return self._names[value]

    def types(self) -> dict[str, int]:
        """The element types of all values that have been named, as ONNX numbers them."""
        tensors = {name: value.type for value, name in self._names.items()}
        return {
            name: ONNX_TYPES[type.dtype]
            for name, type in tensors.items()
            if not isinstance(type, QuantizedType) and type.dtype in ONNX_TYPES
        }

    def operands(self, op: Op) -> list[str]:
        """The names of an op's operands, empty for those that are absent."""
        return [self.name(v) if v is not None else "" for v in op.operands]

    def unused(self, stem: str) -> str:
        """A name for an output that nobody reads but the operator must have."""
        return self._fresh(f"{stem}.unused")

    def _fresh(self, stem: str) -> str:
        base = f"{self._location}/{stem}" if self._location else stem
        name, count = base, 1
        while name in self._taken:
            name = f"{base}.{count}"
            count += 1
        self._taken.add(name)
        return name

    # -- constants

    def _initializer(self, weight: Weight) -> str:
        assert isinstance(weight.type, TensorType), "lowered graphs have tensors only"
        if weight_bytes(weight) < INLINE_LIMIT:
            return self._inline(weight.evaluate(), weight.type.dtype, weight.name)
        self.external.append(weight)
        return weight.name

    def constant(self, value: Tensor, stem: str = "constant") -> str:
        """An initializer in the model file; equal ones are shared."""
        return self._inline(value, dtype_of(value), stem)

    def _inline(self, value: Tensor, dtype: DType, stem: str) -> str:
        data = bytes(raw_bytes(value, tensor(dtype, *value.shape)).numpy())
        key = (dtype, tuple(value.shape), data)
        if key not in self._constants:
            location, self._location = self._location, ""
            name = self._constants[key] = self._fresh(stem)
            self._location = location
            self.inline.append(helper.make_tensor(name, ONNX_TYPES[dtype], list(value.shape), data, raw=True))
        return self._constants[key]

    def integers(self, *values: int) -> str:
        """A constant i64 tensor of rank 1."""
        return self.constant(torch.tensor(values, dtype=torch.int64))

    def filled(self, value: float, dtype: DType) -> str:
        """A constant of rank 0."""
        from graphwright.ir.torch_types import torch_dtype

        return self.constant(torch.tensor(value, dtype=torch_dtype(dtype)))

    # -- dimensions

    def dim(self, dim: Dim) -> str:
        """A dimension as an i64 tensor of one element, rank 1, read off the shapes of the graph's inputs."""
        if dim.constant is not None:
            return self.integers(dim.constant)
        if dim not in self._dims:
            location, self._location = self._location, "dimensions"
            self._dims[dim] = self._compute(dim)
            self._location = location
        return self._dims[dim]

    def _compute(self, dim: Dim) -> str:
        for value in self.graph.inputs:
            for axis, length in enumerate(value.type.shape):
                if length is dim:
                    return self.node("Shape", self.name(value), start=axis, end=axis + 1)
        if len(dim.terms) == 1 and dim.terms[0] == ((str(dim),), 1):
            raise UnsupportedError(f"graph '{self.graph.name}': no input has an axis of length {dim} to read it from")
        total = ""
        for monomial, coefficient in dim.terms:
            product = self.integers(coefficient) if coefficient != 1 or not monomial else ""
            for symbol in monomial:
                factor = self.dim(Dim.of(symbol))
                product = self.node("Mul", product, factor) if product else factor
            total = self.node("Add", total, product) if total else product
        return total

    def scalar(self, dim: Dim) -> str:
        """A dimension as an i64 tensor of rank 0."""
        if dim.constant is not None:
            return self.filled(dim.constant, DType.I64)
        return self.node("Squeeze", self.dim(dim))

    def shape(self, dims: Sequence[Dim | int]) -> str:
        """A shape as an i64 tensor of rank 1; integers stand for themselves, also those with a meaning (0 and -1)."""
        constants = [d if isinstance(d, int) else d.constant for d in dims]
        if None not in constants:
            return self.integers(*(c for c in constants if c is not None))
        parts = [self.integers(d) if isinstance(d, int) else self.dim(d) for d in dims]
        return self.node("Concat", *parts, axis=0)


Emission = Callable[[Emitter, Op], None]
"""Writes the nodes of one op. The names of its results are given by `Emitter.name`."""


def single_nodes(kinds: Mapping[OpDef, str]) -> dict[OpDef, Emission]:
    """Emissions of ops that are one node, of that kind, with the same operands and no attributes."""

    def emission(kind: str) -> Emission:
        return lambda e, op: e.results(op, kind, *e.operands(op))

    return {definition: emission(kind) for definition, kind in kinds.items()}
