"""How far a scale on the channels of a value reaches: through which ops, into which weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graphwright.ir import Op, Program, Value, Weight, ops
from graphwright.ir.attributes import evaluate
from graphwright.ir.lazy import torch
from graphwright.ir.traits import Trait
from graphwright.ir.types import StateType
from graphwright.passes.quantization.weight_folds.classes import Classes
from graphwright.passes.quantization.weight_folds.weight_changes import Place, refusal_of_weight

if TYPE_CHECKING:
    from torch import Tensor


NORMS = frozenset({ops.rms_norm, ops.layer_norm})
READERS = {ops.linear: "weight", ops.moe_experts: "gate_up"}
"""Ops whose first operand, x, is multiplied by columns of a weight: the last axis of that operand."""


class Blocked(Exception):
    """A scale cannot pass; says in words where and why."""


class Places:
    """Where the ops of a program are, and which of them read each weight."""

    def __init__(self, program: Program) -> None:
        self.sizes = symbol_sizes(program)
        self.graphs = {op: graph for graph in program.graphs.values() for op in graph}
        self._uses: dict[Weight, list[Place]] = {}
        for graph in program.graphs.values():
            for value in graph.weights:
                if value.weight is not None:
                    self._uses.setdefault(value.weight, []).extend(value.uses)

    def others(self, op: Op, name: str) -> list[Op]:
        """Ops of the same kind over the same weight: other phases, and layers that share it."""
        weight, index = op.required(name).weight, op.definition.operand_index(name)
        assert weight is not None, f"{name} of {op} is not a weight"
        return [o for o, i in self._uses[weight] if i == index and o.definition is op.definition and o is not op]


class ScaleFlow:
    """Scales on the channels of x and what they bring with them. Raises `Blocked`.

    `weights` says of an op, the index of its operand and whether it reads the channels (else it makes them) which scale
    belongs to each element of that weight: members of `classes`, in a shape that broadcasts to the weight's.
    """

    def __init__(self, places: Places, x: Value) -> None:
        self.weights: dict[tuple[Op, int, bool], Tensor] = {}
        self._places = places
        self._sizes = places.sizes
        channels = x.type.shape[-1].evaluate({})
        self.classes = Classes(channels)
        self._scaled: dict[Value, Tensor] = {}
        self._pending: list[Value] = []
        self._demand(x, torch.arange(channels))
        while self._pending:
            self._reach(self._pending.pop())

    def _demand(self, value: Value, members: Tensor) -> None:
        """Asks for scales on a value: members in a shape that broadcasts to the value's."""
        members = members.expand([d.evaluate(self._sizes) for d in value.type.shape])
        known = self._scaled.get(value)
        if known is not None:
            self.classes.merge(known, members)
            members = torch.where(known >= 0, known, members)
            if torch.equal(members, known):
                return
        if bool((members >= 0).any()):
            self._scaled[value] = members
            self._pending.append(value)

    def _along(self, value: Value, axes: tuple[int, ...], groups: int = 1) -> Tensor:
        """The members of a value along these axes, 1 elsewhere: along the others its scales must be equal, and so must
        those of `groups` heads that follow one another on axis 1."""
        members = self._scaled[value]
        kept = {axis % value.type.rank for axis in axes}
        others = [axis for axis in range(value.type.rank) if axis not in kept]
        common = members.amax(others, keepdim=True) if others else members
        spread = common
        if groups > 1:
            common = common.reshape(common.shape[0], -1, groups, *common.shape[2:]).amax(2)
            spread = common.repeat_interleave(groups, 1)
        self.classes.merge(members, spread)
        if bool(((members < 0) & (spread >= 0)).any()):
            self._demand(value, spread)
        return common

    def _reach(self, value: Value) -> None:
        if value.owner is not None:
            self._make(value.owner, value)
        elif not isinstance(value.type, StateType):
            raise Blocked(f"it is made from {f'input {value.name}' if value.weight is None else value.weight.name}")
        for op, index in value.uses:
            self._read(op, index, value)
        if value.owner is not None and not isinstance(value.type, StateType):
            graph = self._places.graphs[value.owner]
            if graph.is_output(value):
                raise Blocked(f"it is an output of '{graph.name}'")

    # -- what makes a scaled value

    def _make(self, op: Op, value: Value) -> None:
        if op.definition.has(Trait.MOVES):
            self._move_back(op, value)
        elif op.definition is ops.linear or op.definition in NORMS:
            channels = self._along(value, (-1,)).flatten()
            if op.operand("weight") is None:
                raise Blocked(f"{named(op)} has no weight to take it up")
            self._change(op, "weight", channels[:, None] if op.definition is ops.linear else channels)
            self._change(op, "bias", channels)
            for other in self._places.others(op, "weight"):
                self._demand(other.result, channels)
        elif op.definition is ops.glu:
            self._demand(op.required("up"), self._scaled[value])
        elif _is_relu(op):
            self._demand(op.required("x"), self._scaled[value])
        elif op.definition is ops.attention:
            v = op.required("v")
            groups = (value.type.shape[1].evaluate({})) // v.type.shape[1].evaluate({})
            self._demand(v, self._along(value, (1, 3), groups))
        elif op.definition is ops.kv_append:
            for name in ("cache", "new"):
                self._demand(op.required(name), self._along(value, (1, 3)))
        elif op.definition is ops.kv_read:
            self._demand(op.required("cache"), self._scaled[value])
        else:
            raise Blocked(f"it cannot pass {named(op)}")

    def _move_back(self, op: Op, value: Value) -> None:
        members = self._scaled[value].flatten()
        elements = moved_elements(op, self._sizes)[value.index].flatten()
        first = 0
        for operand in op.inputs:
            shape = torch.Size([d.evaluate(self._sizes) for d in operand.type.shape])
            here = (elements >= first) & (elements < first + shape.numel())
            moved = torch.full((shape.numel(),), -1)
            moved[elements[here] - first] = members[here]
            self.classes.merge(moved[elements[here] - first], members[here])
            self._demand(operand, moved.reshape(shape))
            first += shape.numel()

    # -- what reads a scaled value

    def _read(self, op: Op, index: int, value: Value) -> None:
        name = op.definition.operands[0 if op.definition.variadic else index].name
        if op.definition.has(Trait.MOVES):
            every = torch.cat([self._known(v).flatten() for v in op.inputs])
            for result, elements in zip(op.results, moved_elements(op, self._sizes), strict=True):
                self._demand(result, every[elements])
        elif op.definition in READERS and name == "x":
            weight = READERS[op.definition]
            columns = self._along(value, (-1,)).flatten()
            self._change(op, weight, columns.reshape([1] * (op.required(weight).type.rank - 1) + [-1]), reads=True)
            for other in self._places.others(op, weight):
                self._demand(other.required("x"), columns)
        elif (op.definition is ops.glu and name == "up") or _is_relu(op) or op.definition is ops.kv_read:
            self._demand(op.result, self._scaled[value])
        elif op.definition is ops.attention and name == "v":
            queries = op.result.type.shape[1].evaluate({}) // value.type.shape[1].evaluate({})
            self._demand(op.result, self._along(value, (1, 3)).repeat_interleave(queries, 1))
        elif op.definition is ops.kv_append and name in ("cache", "new"):
            self._demand(op.result, self._along(value, (1, 3)))
        else:
            raise Blocked(f"{named(op)} reads it too")

    def _known(self, value: Value) -> Tensor:
        """The members of a value; of one that is not scaled, -1."""
        known = self._scaled.get(value)
        return torch.full([d.evaluate(self._sizes) for d in value.type.shape], -1) if known is None else known

    # -- the weights

    def _change(self, op: Op, name: str, members: Tensor, *, reads: bool = False) -> None:
        if op.definition is ops.rms_norm and name == "bias":
            return
        value = op.operand(name)
        if value is None:
            return
        problem = refusal_of_weight(value)
        if problem is not None:
            raise Blocked(f"the {name} of {named(op)} {problem}")
        self.weights[op, op.definition.operand_index(name), reads] = members


def _is_relu(op: Op) -> bool:
    """Whether the op is an activation through which a positive factor passes."""
    return op.definition is ops.activation and op.attributes["kind"] == "relu"


def named(op: Op) -> str:
    """An op as messages name it."""
    kind = f" ({op.attributes['kind']})" if op.definition is ops.activation else ""
    return f"{op.name}{kind} at {op.location}" if op.location else op.name + kind


PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)


def symbol_sizes(program: Program) -> dict[str, int]:
    """A different small prime for each symbol, so that no two axes of unlike meaning are of one length by chance."""
    symbols = sorted({s for graph in program.graphs.values() for s in graph.symbols})
    return {symbol: PRIMES[i % len(PRIMES)] for i, symbol in enumerate(symbols)}


def moved_elements(op: Op, sizes: Mapping[str, int]) -> list[Tensor]:
    """Of each result of a moving op: for each element its number, counted over the elements of all operands."""
    numbered: list[Tensor] = []
    first = 0
    for value in op.inputs:
        shape = [d.evaluate(sizes) for d in value.type.shape]
        count = torch.Size(shape).numel()
        numbered.append(torch.arange(first, first + count).reshape(shape))
        first += count
    attributes = {name: evaluate(value, sizes) for name, value in op.attributes.items()}
    results: Tensor | tuple[Tensor, ...] = op.definition.evaluate(numbered, attributes)
    return list(results) if isinstance(results, tuple) else [results]
