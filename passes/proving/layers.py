"""A smaller program that says as much about a pass: of equal layers the first two are kept.

Layers are told by the numbers in module paths (`model.layers.7`). Two are equal if they do the same ops in the same
order with the same attributes, types and shared operands, and take and give one value of one type: the residual stream.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from graphwright.ir import Graph, Op, Value
from graphwright.ir.attributes import attribute_text

KEPT = 2
"""How many of equal layers stay: one, and a repeat of it."""
NUMBER = re.compile(r"^(.*?\.)?(\d+)(?=\.|$)")


@dataclass
class Layer:
    """The ops under one module path that ends in a number, with the values that come in and go out."""

    path: str
    ops: list[Op] = field(default_factory=list[Op])

    def boundary(self) -> tuple[list[Value], list[Value]]:
        """Values made by ops outside that ops inside read, and values made inside that are read outside."""
        inside = {v for op in self.ops for v in op.results}
        own = set(self.ops)
        coming = dict.fromkeys(v for op in self.ops for v in op.inputs if v not in inside and v.weight is None)
        going = [v for op in self.ops for v in op.results if any(user not in own for user in v.users)]
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


def drop_repeated_layers(graph: Graph, kept: int = KEPT) -> list[str]:
    """Takes layers out that are equal to `kept` others before them; returns the paths of those that are gone."""
    dropped: list[str] = []
    for group in layers(graph).values():
        seen: Counter[object] = Counter()
        made = {v for layer in group for op in layer.ops for v in op.results}
        plans: list[tuple[Layer, Value, Value]] = []
        for layer in group:
            coming, going = layer.boundary()
            chain = [v for v in coming if v in made]
            if len(chain) != 1 or len(going) != 1 or chain[0].type != going[0].type or graph.is_output(going[0]):
                continue
            key = _structure(layer, chain[0])
            seen[key] += 1
            # The first layer of a list reads what no layer made: `chain` says so, and it stays.
            if seen[key] > kept - (1 if _leads(group, layer, key) else 0):
                plans.append((layer, chain[0], going[0]))
        replaced: dict[Value, Value] = {}
        for layer, before, after in plans:
            graph.replace(after, replaced.get(before, before))
            replaced[after] = replaced.get(before, before)
            dropped.append(layer.path)
    graph.erase_dead()
    return dropped


def _leads(group: list[Layer], layer: Layer, key: object) -> bool:
    """Whether the list's first layer, which reads what stands before all layers, is equal to this one otherwise."""
    coming, _ = group[0].boundary()
    return any(_structure(group[0], value) == key for value in coming) and layer is not group[0]


def _structure(layer: Layer, chain: Value) -> tuple[object, ...]:
    known: dict[Value, object] = {chain: "chain"}
    key: list[object] = []
    for op in layer.ops:
        operands = tuple(None if v is None else known.get(v, _outside(v)) for v in op.operands)
        key.append((op.name, operands, tuple(map(attribute_text, op.attributes.values()))))
        for result in op.results:
            known[result] = (len(key), result.index)
    return tuple(key)


def _outside(value: Value) -> object:
    return ("weight", str(value.type)) if value.weight is not None else ("value", id(value))
