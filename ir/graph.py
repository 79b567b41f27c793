"""Graphs: typed SSA in memory, mutable, with use lists and an ordered list of ops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar, cast

from graphwright.ir.attributes import Attribute
from graphwright.ir.convention import FORWARD
from graphwright.ir.types import TensorType, Type

if TYPE_CHECKING:
    from graphwright.ir.declare import OpDef
    from graphwright.ir.weights import Weight

Kind = TypeVar("Kind")


class Value:
    """An SSA value: an input of the graph (`owner` and `weight` None), a weight, or result `index` of op `owner`."""

    __slots__ = ("index", "name", "owner", "successor", "type", "uses", "weight")

    def __init__(self, type: Type, owner: Op | None = None, index: int = 0, name: str | None = None) -> None:
        self.type = type
        self.owner = owner
        self.index = index
        self.name = name
        self.weight: Weight | None = None
        self.uses: dict[tuple[Op, int], None] = {}
        self.successor: Value | None = None
        """What took its place, for those who remember an op that is gone."""

    @property
    def tensor(self) -> TensorType:
        """The type as a tensor's; a state counts as the tensor it holds."""
        from graphwright.ir.types import QuantizedType, StateType

        if isinstance(self.type, StateType):
            return self.type.tensor
        assert not isinstance(self.type, QuantizedType), f"{self.type} is not a plain tensor"
        return self.type

    @property
    def users(self) -> list[Op]:
        """The ops that read the value, each once, in the order in which they came to use it."""
        return list(dict.fromkeys(op for op, _ in self.uses))

    def defined_by(self, definition: OpDef) -> Op | None:
        """The op that makes this value if it is one of `definition`, else None."""
        return self.owner if self.owner is not None and self.owner.definition is definition else None

    def __repr__(self) -> str:
        source = self.weight.name if self.weight else self.owner.name if self.owner else self.name
        return f"<{source}: {self.type}>"


class Op:
    """One operation. `operands` holds None where an optional operand is absent."""

    __slots__ = ("_next", "_previous", "attributes", "definition", "erased", "location", "operands", "results")

    def __init__(self, definition: OpDef, attributes: dict[str, Attribute], location: str) -> None:
        self.definition = definition
        self.attributes = attributes
        self.location = location
        self.operands: list[Value | None] = []
        self.results: list[Value] = []
        self.erased = False
        self._previous: Op | None = None
        self._next: Op | None = None

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def result(self) -> Value:
        assert len(self.results) == 1, f"{self.name} has {len(self.results)} results"
        return self.results[0]

    @property
    def inputs(self) -> list[Value]:
        """The operands that are present."""
        return [v for v in self.operands if v is not None]

    def operand(self, name: str) -> Value | None:
        """The operand of that name in the op's declaration, or None if it is optional and absent."""
        return self.operands[self.definition.operand_index(name)]

    def required(self, name: str) -> Value:
        """The operand of that name, which the caller knows to be present."""
        value = self.operand(name)
        assert value is not None, f"{self.name} has no {name}"
        return value

    def attribute(self, name: str, *kinds: type[Kind]) -> Kind:
        """The attribute of that name, typed: its declaration must allow no other kinds than these.

        `op.attribute("axis", int)`, `op.attribute("shape", tuple[Dim, ...])`, `op.attribute("stop", Dim, NoneType)`.
        """
        self.definition.require_kind(name, kinds)
        return cast("Kind", self.attributes[name])

    def __repr__(self) -> str:
        return f"<{self.name} at {self.location or '?'}>"


class Graph:
    """A function from inputs to named outputs. Weights are values too, one for each weight that is used."""

    def __init__(self, name: str = FORWARD) -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.outputs: dict[str, Value] = {}
        self._weights: dict[str, Value] = {}
        self._first: Op | None = None
        self._last: Op | None = None
        self._count = 0

    # -- reading

    def __iter__(self) -> Iterator[Op]:
        """Ops in order. While iterating, any op may be erased and ops may be inserted."""
        op = self._first
        while op is not None:
            yield op
            # An erased op still points to where it stood.
            op = op._next
            while op is not None and op.erased:
                op = op._next

    def __len__(self) -> int:
        return self._count

    def backwards(self) -> Iterator[Op]:
        """Ops from the last to the first, under the same freedom."""
        op = self._last
        while op is not None:
            yield op
            op = op._previous
            while op is not None and op.erased:
                op = op._previous

    @property
    def weights(self) -> list[Value]:
        return list(self._weights.values())

    def input(self, name: str) -> Value:
        for value in self.inputs:
            if value.name == name:
                return value
        raise KeyError(name)

    def is_output(self, value: Value) -> bool:
        return any(value is output for output in self.outputs.values())

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols of the inputs' types: what a caller binds."""
        return frozenset(symbol for v in self.inputs for dim in v.type.shape for symbol in dim.symbols)

    # -- building

    def add_input(self, name: str, type: Type) -> Value:
        assert all(v.name != name for v in self.inputs), f"two inputs named {name}"
        value = Value(type, name=name)
        self.inputs.append(value)
        return value

    def weight(self, weight: Weight) -> Value:
        """The value of a weight in this graph; always the same object for the same weight."""
        value = self._weights.get(weight.name)
        if value is None:
            value = Value(weight.type, name=weight.name)
            value.weight = weight
            self._weights[weight.name] = value
        assert value.weight is weight, f"two weights named {weight.name}"
        return value

    def insert(
        self,
        definition: OpDef,
        operands: Iterable[Value | None],
        attributes: Mapping[str, Attribute],
        *,
        before: Op | None = None,
        location: str = "",
    ) -> Op:
        """Adds an op (at the end, or before another) and infers its result types. Raises `IRTypeError`."""
        op = Op(definition, definition.complete(attributes, location), location)
        op.operands = definition.pad(operands, location)
        op.results = [Value(t, op, i) for i, t in enumerate(definition.infer_op(op))]
        for i, value in enumerate(op.operands):
            if value is not None:
                value.uses[op, i] = None
        self._link(op, before)
        return op

    def _link(self, op: Op, before: Op | None) -> None:
        op._next = before
        op._previous = before._previous if before is not None else self._last
        if op._previous is not None:
            op._previous._next = op
        else:
            self._first = op
        if before is not None:
            before._previous = op
        else:
            self._last = op
        self._count += 1

    # -- changing

    def replace(self, old: Value, new: Value) -> None:
        """Every use of `old`, outputs included, becomes a use of `new`."""
        if old is new:
            return
        old.successor = new
        for op, i in old.uses:
            op.operands[i] = new
            new.uses[op, i] = None
        old.uses = {}
        for name, value in self.outputs.items():
            if value is old:
                self.outputs[name] = new

    def set_operand(self, op: Op, index: int, value: Value | None) -> None:
        previous = op.operands[index]
        if previous is not None:
            previous.uses.pop((op, index), None)
        op.operands[index] = value
        if value is not None:
            value.uses[op, index] = None

    def erase(self, op: Op) -> None:
        """Removes an op whose results nobody uses."""
        assert self.is_dead(op), f"{op} is still used"
        for i, value in enumerate(op.operands):
            if value is not None:
                value.uses.pop((op, i), None)
        before, after = op._previous, op._next
        if before is not None:
            before._next = after
        else:
            self._first = after
        if after is not None:
            after._previous = before
        else:
            self._last = before
        op.erased = True
        self._count -= 1

    def is_dead(self, op: Op) -> bool:
        return not any(v.uses for v in op.results) and not any(self.is_output(v) for v in op.results)

    def erase_dead(self, roots: Iterable[Op] | None = None) -> int:
        """Removes the ops that no output needs: all of them, or only those that feed the `roots`. Returns how many."""
        count = 0
        pending = list(self) if roots is None else list(roots)
        weights = self.weights if roots is None else []
        while pending:
            op = pending.pop()
            if op.erased or not self.is_dead(op):
                continue
            pending.extend(v.owner for v in op.inputs if v.owner is not None)
            weights.extend(v for v in op.inputs if v.weight is not None)
            self.erase(op)
            count += 1
        for value in weights:
            if not value.uses and not self.is_output(value):
                self._weights.pop(value.name or "", None)
        return count
