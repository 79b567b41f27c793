"""A smaller program that says as much about a pass: of equal layers the first two are kept.

Layers are told by the numbers in module paths (`model.layers.7`). Two are equal if they do the same ops in the same
order with the same attributes, types and shared operands, and take and give one value of one type: the residual stream.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from graphwright.ir import Graph, Op, Program, StateType, Value
from graphwright.ir.attributes import attribute_text

KEPT = 2
"""How many of equal layers stay: one, and a repeat of it."""
NUMBER = re.compile(r"^(.*?\.)?(\d+)(?=\.|$)")


@dataclass
class Layer:
    """The ops under one module path that ends in a number, with the values that come in and go out."""

    path: str
    ops: list[Op] = field(default_factory=list[Op])

    def boundary(self, graph: Graph) -> tuple[list[Value], list[Value]]:
        """Values from outside that ops inside read, and values made inside that are read outside or returned; its
        states, which are its own, are not among these."""
        own = set(self.ops)
        inside = {v for op in self.ops for v in op.results}
        coming = dict.fromkeys(v for op in self.ops for v in op.inputs if v not in inside and v.weight is None)
        returned = {v for v in graph.outputs.values() if not isinstance(v.type, StateType)}
        made = [v for op in self.ops for v in op.results]
        going = [v for v in made if v in returned or any(user not in own for user in v.users)]
        return list(coming), going


def layers(graph: Graph) -> dict[str, list[Layer]]:
    """The layers of a graph by the path of the list they stand in, in order."""
    found: dict[str, Layer] = {}
    for op in graph:
        match = NUMBER.match(op.location)
        if match is not None:
            found.setdefault(match[0], Layer(match[0])).ops.append(op)
    lists: dict[str, list[Layer]] = defaultdict(list)
    for path, layer in found.items():
        lists[path.rpartition(".")[0]].append(layer)
    return lists


def without_repeats(program: Program, kept: int = KEPT) -> tuple[Program, list[str]]:
    """A copy of a program with only the first `kept` of equal layers, and the paths of those that are gone.

    Weights, caches and states of a layer go with it.
    """
    copy = program.clone()
    dropped: dict[str, None] = {}
    for graph in copy.graphs.values():
        dropped.update(dict.fromkeys(_drop_repeats(graph, kept)))
    copy.erase_unused_weights()
    return copy, list(dropped)


def unlike_layers(program: Program, smaller: Program) -> list[str]:
    """The layers of a program that do what no layer of the smaller one does: the same ops in the same order, with the
    same attributes, on operands of the same types that were made at the same places."""
    unlike: list[str] = []
    for name, graph in program.graphs.items():
        known = {_kind(layer) for group in layers(smaller.graphs[name]).values() for layer in group}
        unlike += [layer.path for group in layers(graph).values() for layer in group if _kind(layer) not in known]
    return unlike


def _kind(layer: Layer) -> tuple[object, ...]:
    known: dict[Value, object] = {}
    key: list[object] = []
    for number, op in enumerate(layer.ops):
        operands = tuple(None if v is None else known.get(v, str(v.type)) for v in op.operands)
        key.append((op.name, operands, tuple(map(attribute_text, op.attributes.values()))))
        known.update({result: (number, result.index) for result in op.results})
    return tuple(key)


def _drop_repeats(graph: Graph, kept: int) -> list[str]:
    gone: list[Layer] = []
    for group in layers(graph).values():
        seen: Counter[object] = Counter()
        made = {v for layer in group for op in layer.ops for v in op.results}
        for number, layer in enumerate(group):
            coming, going = layer.boundary(graph)
            chain = [v for v in coming if v in made]
            if number == 0:
                # It reads what stands before all layers, and stays; for others like it, each such value may be theirs.
                seen.update(_structure(layer, value) for value in coming if value.owner is not None)
                continue
            if len(chain) != 1 or len(going) != 1 or chain[0].type != going[0].type:
                continue
            key = _structure(layer, chain[0])
            seen[key] += 1
            if seen[key] > kept:
                graph.replace(going[0], chain[0])
                gone.append(layer)
    inside = {op for layer in gone for op in layer.ops}
    graph.outputs = {name: v for name, v in graph.outputs.items() if v.owner not in inside}
    states = {v for op in inside for v in op.inputs if v in graph.inputs}
    graph.erase_dead()
    graph.inputs = [v for v in graph.inputs if v not in states or v.uses]
    return [layer.path for layer in gone]


def _structure(layer: Layer, chain: Value) -> tuple[object, ...]:
    known: dict[Value, object] = {chain: "chain"}
    own = set(layer.ops)
    key: list[object] = []
    for op in layer.ops:
        operands = tuple(None if v is None else known.get(v, _outside(v, own)) for v in op.operands)
        key.append((op.name, operands, tuple(map(attribute_text, op.attributes.values()))))
        for result in op.results:
            known[result] = (len(key), result.index)
    return tuple(key)


def _outside(value: Value, own: set[Op]) -> object:
    """Weights and states, which are a layer's own, are told by their type; what layers share, by which it is."""
    is_own = value.weight is not None or (value.owner is None and own.issuperset(value.users))
    return ("own", str(value.type)) if is_own else ("shared", id(value))
