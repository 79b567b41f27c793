"""A program: graphs that share weights (prefill and decode of one model, say), and what is known about the model."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, count

from graphwright.ir.attributes import Attribute, substitute
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Graph, Value
from graphwright.ir.types import StateType, TensorType, Type
from graphwright.ir.weights import Weight, WeightExpression


class Program:
    """Named graphs over one table of weights. `metadata` holds facts for the backend, such as `context_length`."""

    def __init__(self, name: str = "program") -> None:
        self.name = name
        self.graphs: dict[str, Graph] = {}
        self.weights: dict[str, Weight] = {}
        self.metadata: dict[str, Attribute] = {}

    def add_graph(self, graph: Graph) -> Graph:
        assert graph.name not in self.graphs, f"two graphs named {graph.name}"
        self.graphs[graph.name] = graph
        return graph

    def add_weight(self, name: str, expression: WeightExpression) -> Weight:
        """A new weight, or the one that already has this expression; a name that is taken gets a number."""
        for candidate in chain([name], (f"{name}.{i}" for i in count(1))):
            existing = self.weights.get(candidate)
            if existing is None:
                self.weights[candidate] = weight = Weight(candidate, expression)
                return weight
            if existing.expression == expression:
                return existing
        raise AssertionError("unreachable")

    def erase_unused_weights(self) -> None:
        used = {v.weight.name for g in self.graphs.values() for v in g.weights if v.weight is not None}
        self.weights = {name: weight for name, weight in self.weights.items() if name in used}

    def clone(self) -> Program:
        """A copy whose graphs and weights can be changed; what the weights are computed from is shared."""
        copy = Program(self.name)
        copy.weights = {name: Weight(name, weight.expression) for name, weight in self.weights.items()}
        copy.metadata = dict(self.metadata)
        for name, graph in self.graphs.items():
            copy.graphs[name] = clone_graph(graph, name, weights=copy.weights)
        return copy


def substitute_type(type: Type, bindings: Mapping[str, Dim | int]) -> Type:
    """The type with symbols replaced in its shape."""
    if isinstance(type, StateType):
        return StateType(type.layout, _tensor(type.tensor, bindings))
    return _tensor(type, bindings) if isinstance(type, TensorType) else type


def _tensor(type: TensorType, bindings: Mapping[str, Dim | int]) -> TensorType:
    return TensorType(type.dtype, tuple(d.substitute(bindings) for d in type.shape))


def clone_graph(
    graph: Graph,
    name: str,
    bindings: Mapping[str, Dim | int] | None = None,
    weights: Mapping[str, Weight] | None = None,
) -> Graph:
    """A copy of a graph, with symbols replaced by `bindings` (`{"S": 1}` specializes to one token).

    Its weights are those of the same names among `weights`, else the graph's own.
    """
    bindings, weights = bindings or {}, weights or {}
    copy = Graph(name)
    values: dict[Value, Value] = {}
    for value in graph.inputs:
        assert value.name is not None
        values[value] = copy.add_input(value.name, substitute_type(value.type, bindings))
    for value in graph.weights:
        assert value.weight is not None
        values[value] = copy.weight(weights.get(value.weight.name, value.weight))
    for op in graph:
        attributes = {k: substitute(v, bindings) for k, v in op.attributes.items()} if bindings else op.attributes
        operands = [None if v is None else values[v] for v in op.operands]
        new = copy.insert(op.definition, operands, attributes, location=op.location)
        values.update(zip(op.results, new.results, strict=True))
    copy.outputs = {name: values[v] for name, v in graph.outputs.items()}
    return copy
