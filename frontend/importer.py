"""A traced program to a graph of the IR: walks the nodes, hands each to its importer, and checks what comes back."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from graphwright.frontend.aten import IGNORED_ARGUMENTS, IMPORTERS, Imported, Site
from graphwright.frontend.aten.complex_numbers import Complex, import_complex
from graphwright.frontend.dimensions import Dimensions
from graphwright.frontend.sources import line_of
from graphwright.frontend.traced_graph import Node, gives_tensors, live_nodes, module_path, operator_name, traced_value
from graphwright.ir import Builder, Dim, Graph, Program, TensorType, UnsupportedError, Value, ops
from graphwright.ir.convention import FORWARD
from graphwright.ir.errors import IRTypeError
from graphwright.ir.location import Location, at_source
from graphwright.ir.weights import Weight


class Importer:
    """Imports one traced program as graph `forward` of a program.

    `weight` gives the weight of a parameter, buffer or lifted constant by its name in the traced module; `prefix` is
    taken off module paths.
    """

    def __init__(
        self,
        program: Program,
        exported: ExportedProgram,
        dimensions: Dimensions,
        weight: Callable[[str], Weight],
        prefix: str,
    ) -> None:
        self._program = program
        self._exported = exported
        self._dimensions = dimensions
        self._weight = weight
        self._prefix = prefix
        self._graph = program.add_graph(Graph(FORWARD))
        self._values: dict[Node, Imported | Complex | tuple[Complex, ...] | None] = {}
        specifications = exported.graph_signature.input_specs
        self._constants = {s.arg.name: s.target for s in specifications if s.kind != InputKind.USER_INPUT}

    def run(self, inputs: Iterable[str], outputs: Mapping[str, Node]) -> Graph:
        """The graph; inputs get the names given, in order. What the outputs do not need is not looked at."""
        names = iter(inputs)
        for node in live_nodes(self._exported, outputs.values()):
            if node.op == "placeholder":
                self._placeholder(node, names)
            elif node.op == "call_function" and gives_tensors(node):
                self._call(node)
        self._graph.outputs = {name: self._output(name, node) for name, node in outputs.items()}
        self._graph.erase_dead()
        self._program.erase_unused_weights()
        return self._graph

    def _output(self, name: str, node: Node) -> Value:
        value = self._operand(node, node)
        if isinstance(value, Complex):
            raise UnsupportedError(f"output '{name}' is complex; return torch.view_as_real of it")
        return value

    def _placeholder(self, node: Node, names: Iterator[str]) -> None:
        target = self._constants.get(node.name)
        if node.name not in self._constants:
            self._values[node] = self._graph.add_input(next(names), self._dimensions.type(traced_value(node)))
        elif node.users:
            assert target is not None
            weight = self._weight(target)
            if weight.type != (traced := self._stored_type(node)):
                raise UnsupportedError(f"weight '{weight.name}' is {weight.type}, the traced module has {traced}")
            stored = self._graph.weight(weight)
            self._values[node] = self._complex_weight(stored) if traced_value(node).is_complex() else stored

    def _stored_type(self, node: Node) -> TensorType:
        """The type of a weight: a complex one is stored with real and imaginary part along a last axis."""
        type = self._type(node, traced_value(node))
        return TensorType(type.dtype, (*type.shape, Dim.of(2))) if traced_value(node).is_complex() else type

    def _complex_weight(self, stored: Value) -> Complex:
        build, shape = Builder(self._graph), stored.tensor.shape
        parts = [build(ops.slice, stored, axis=len(shape) - 1, start=Dim.of(i), stop=Dim.of(i + 1)) for i in (0, 1)]
        real, imaginary = (build(ops.reshape, part, shape=shape[:-1]) for part in parts)
        return Complex(real, imaginary)

    def _call(self, node: Node) -> None:
        name = operator_name(node)
        if name == "getitem":
            source: Any = node.args[0]
            parts: Any = self._values[source]
            self._values[node] = parts[node.args[1]]
            return
        location = self._location(node)
        values: Any = traced_value(node)
        results = [values] if isinstance(values, torch.Tensor) else list(values)
        types = [self._type(node, v) for v in results]
        site = Site(self._program, Builder(self._graph, location=location), name, types)
        arguments = [self._operand(node, a) for a in node.args]
        named = {k: self._operand(node, v) for k, v in node.kwargs.items() if k not in IGNORED_ARGUMENTS}
        gives_complex = any(v.is_complex() for v in results)
        try:
            if gives_complex or _any_complex([arguments, list(named.values())]):
                result = import_complex(site, arguments, named, gives_complex=gives_complex)
            else:
                result = _import(site, arguments, named)
        except IRTypeError as problem:
            raise site.unsupported(f"does not fit the IR: {problem}") from None
        self._check(site, result)
        self._values[node] = result

    def _check(self, site: Site, result: Imported | Complex | tuple[Complex, ...]) -> None:
        """What was built has the types that torch found: a wrong import does not pass in silence."""
        made = list(result) if isinstance(result, tuple) else [result]
        for each, promised in zip(made, site.types, strict=True):
            for value in (each.real, each.imaginary) if isinstance(each, Complex) else (each,):
                if value is not None and value.type != promised:
                    raise site.unsupported(f"imported as {value.type}, torch gives {promised}")

    def _operand(self, node: Node, argument: Any) -> Any:
        """An argument of a node as importers take it: nodes become values or dimensions."""
        if isinstance(argument, Node):
            size = traced_value(argument)
            if isinstance(size, torch.SymInt):
                return self._dim(node, size)
            if argument not in self._values:
                problem = f"operand {argument.name} is a symbolic number that the IR cannot express"
                raise unsupported(operator_name(node), self._location(node), problem)
            value = self._values[argument]
            if value is None:
                problem = "the positions of extremes are not in the IR, only their values"
                raise unsupported(operator_name(node), self._location(node), problem)
            return value
        if isinstance(argument, (list, tuple)):
            return [self._operand(node, a) for a in argument]  # pyright: ignore[reportUnknownVariableType] - fx arguments
        return argument

    def _location(self, node: Node) -> str:
        path = f"{module_path(node)}.".removeprefix(self._prefix).removesuffix(".")
        return Location(path, line_of(node.meta.get("stack_trace")))

    def _dim(self, node: Node, size: torch.SymInt) -> Dim:
        try:
            return self._dimensions.dim(size)
        except UnsupportedError as problem:
            raise unsupported(operator_name(node), self._location(node), str(problem)) from None

    def _type(self, node: Node, fake: torch.Tensor) -> TensorType:
        try:
            return self._dimensions.type(fake)
        except UnsupportedError as problem:
            raise unsupported(operator_name(node), self._location(node), str(problem)) from None


def _import(site: Site, arguments: list[Any], named: dict[str, Any]) -> Imported:
    importer = IMPORTERS.get(site.operator)
    if importer is None:
        raise site.unsupported("there is no importer for this operator; write it with others")
    try:
        inspect.signature(importer).bind(site, *arguments, **named)
    except TypeError as problem:
        raise site.unsupported(f"arguments of this call are not supported: {problem}") from None
    return importer(site, *arguments, **named)


def unsupported(operator: str, location: str, problem: str) -> UnsupportedError:
    return UnsupportedError(f"{operator}{' at ' + location if location else ''}: {problem}{at_source(location)}")


def _any_complex(argument: Any) -> bool:
    if isinstance(argument, list | tuple):
        return any(_any_complex(item) for item in argument)  # pyright: ignore[reportUnknownVariableType] - fx arguments
    return isinstance(argument, Complex | complex)
