"""Values that depend on positions alone, rebuilt at each row's own positions.

In a cacheless graph all rows stand at 0, 1, 2, …, so positional values have no batch axis, or one along which nothing
changes. With a cache the rows of a batch stand at different lengths: each positional value gets a leading axis for the
rows, and everything computed from positions is computed for every row.
"""

from __future__ import annotations

from collections.abc import Callable

from graphwright.ir import Builder, Dim, DType, Op, PassError, TensorType, Type, Value, ops
from graphwright.ir.ops.rules import is_elementwise
from graphwright.ir.ops.shape import as_dims, as_ints
from graphwright.passes.probing import BATCH, SEQUENCE, has_symbol

ONE = Dim.of(1)
B, S = Dim.of(BATCH), Dim.of(SEQUENCE)


def refuse(op: Op | None, reason: str) -> PassError:
    """The refusal of cache insertion, naming the op and its module path."""
    where = f" at {op.location}" if op is not None and op.location else ""
    name = f"{op.name}{where}: " if op is not None else ""
    return PassError(f"insert-kv-cache: {name}{reason}")


class RowPositions:
    """Rebuilds positional values of a forward graph in the graph that `build` builds.

    `past_length` and `key_length` are i64 [B]: tokens before and after this run. `positions` is i64 [B, S].
    """

    def __init__(
        self, build: Builder, is_positional: Callable[[Value], bool], past_length: Value, key_length: Value
    ) -> None:
        self.build = build
        self.is_positional = is_positional
        start = build(ops.reshape, past_length, shape=(B, ONE))
        self.positions = build(ops.add, start, build(ops.iota, size=S, dtype=DType.I64))
        # padding may stand past the end of a table of positions: it looks up the row's last real token's place
        last = build(ops.sub, build(ops.reshape, key_length, shape=(B, ONE)), 1)
        self._lookup = build(ops.minimum, self.positions, last)
        self._constants: dict[Value, Value] = {}
        self._rows: dict[Value, Value] = {}

    def are_own_positions(self, value: Value) -> bool:
        """Whether a value of the forward graph is 0, 1, 2, … along the sequence, in some shape."""
        owner = value.owner
        while owner is not None and owner.definition in (ops.reshape, ops.expand):
            owner = owner.inputs[0].owner
        return owner is not None and owner.definition is ops.iota and owner.attributes["size"] is S

    def constant(self, value: Value) -> Value:
        """A weight, or a value that depends on neither tokens nor positions."""
        if value.weight is not None:
            return self.build.graph.weight(value.weight)
        if value not in self._constants:
            owner = value.owner
            assert owner is not None
            operands = [None if v is None else self.constant(v) for v in owner.operands]
            new = self.build.op(owner.definition, *operands, **owner.attributes)
            self._constants.update(zip(owner.results, new.results, strict=True))
        return self._constants[value]

    def operand(self, op: Op, value: Value, result: Type) -> Value:
        """A positional operand of an op over data with that result, shaped to broadcast as it did."""
        if op.definition is ops.rope:
            own = self.are_own_positions(value)
            return self.positions if own else self.build(ops.reshape, self._at_rows(op, value), shape=(B, S))
        assert isinstance(result, TensorType)
        rows = self._at_rows(op, value)
        batch = next((i for i, d in enumerate(result.shape) if d is B), None)
        if batch is None:
            raise refuse(op, f"its result {result} has no batch axis")
        place = batch - (result.rank - value.type.rank)
        if place < 0:
            return self.build(ops.reshape, rows, shape=(B, *[ONE] * (-place - 1), *rows.type.shape[1:]))
        _, *shape = rows.type.shape
        if any(d is not ONE for d in shape[: place + 1]):
            raise refuse(op, f"the positions in {value.type} do not line up with the batch of {result}")
        return self.build(ops.reshape, rows, shape=(*shape[:place], B, *shape[place + 1 :]))

    def _at_rows(self, op: Op, value: Value) -> Value:
        """[rows, …]: the value at each row's positions; its own batch axis, if it has one, becomes 1."""
        if value not in self._rows:
            self._rows[value] = self._rebuilt(op, value)
        return self._rows[value]

    def _rebuilt(self, op: Op, value: Value) -> Value:
        owner = value.owner
        if sum(SEQUENCE in d.symbols for d in value.type.shape) > 1:
            raise refuse(op, f"it uses {value.type}, which relates tokens to each other outside a known mask")
        if owner is not None and owner.definition is ops.constant:
            filled = owner.attributes["value"]
            return self.build.constant(filled, value.tensor.dtype, ONE, *self._without_batch(op, value.type.shape))
        if not has_symbol(value, SEQUENCE):
            if has_symbol(value, BATCH):
                raise refuse(op, f"it uses {value.type}, which tells the rows of a batch apart")
            return self.build(ops.reshape, self.constant(value), shape=(ONE, *value.type.shape))
        assert owner is not None
        if owner.definition is ops.iota and owner.attributes["size"] is S:
            dtype = value.tensor.dtype
            return self._lookup if dtype is DType.I64 else self.build(ops.cast, self._lookup, dtype=dtype)
        if owner.definition is ops.slice and not has_symbol(owner.inputs[0], SEQUENCE):
            return self._beginning_of_table(op, owner)
        return self._op_at_rows(op, owner, value)

    def _op_at_rows(self, op: Op, owner: Op, value: Value) -> Value:
        """An op over positional values, done for every row."""
        definition = owner.definition
        self._check_positions_apart(op, owner)
        if definition is ops.embedding:
            indices = self._at_rows(op, owner.required("indices"))
            return self.build(definition, self.constant(owner.required("weight")), indices)
        if definition is ops.gather and owner.attributes["axis"] == 0:
            indices = self._at_rows(op, owner.required("indices"))
            return self.build(definition, self.constant(owner.required("x")), indices, axis=0)
        operands = [self._at_rows(op, v) for v in owner.inputs]
        rows = operands[0].type.shape[0]
        if definition in (ops.reshape, ops.expand):
            shape = self._without_batch(op, as_dims(owner.attributes["shape"]))
            return self.build(definition, operands[0], shape=(rows, *shape))
        if definition is ops.transpose:
            moved = (0, *(p + 1 for p in as_ints(owner.attributes["permutation"])))
            return self.build(definition, operands[0], permutation=moved)
        if definition in (ops.slice, ops.concat):
            axis = owner.attributes["axis"]
            assert isinstance(axis, int)
            attributes = {**owner.attributes, "axis": axis % value.type.rank + 1}
            return self.build(definition, *self._same_rows(operands), **attributes)
        if not is_elementwise(definition):
            where = owner.location or "?"
            raise refuse(op, f"its positions come from {definition.name} at {where}: that cannot be rebuilt per row")
        return self.build(definition, *(self._aligned(v, value.type.rank + 1) for v in operands), **owner.attributes)

    def _beginning_of_table(self, op: Op, owner: Op) -> Value:
        """The first S places of a table: each row looks up its own."""
        axis, start, step = (owner.attributes[n] for n in ("axis", "start", "step"))
        assert isinstance(axis, int)
        source = owner.inputs[0]
        axis %= source.type.rank
        if step != 1 or start != 0 or owner.result.type.shape[axis] is not S:
            raise refuse(op, f"its positions are a slice of {source.type} that does not begin at 0")
        found = self.build(ops.gather, self.constant(source), self._lookup, axis=axis)
        if not axis:
            return found
        order = (axis, *(i for i in range(found.type.rank) if i != axis))
        return self.build(ops.transpose, found, permutation=order)

    def _check_positions_apart(self, op: Op, owner: Op) -> None:
        for operand, axes in zip(owner.inputs, owner.definition.axis_flow(owner), strict=True):
            for dim, target in zip(operand.type.shape, axes, strict=True):
                if SEQUENCE in dim.symbols and (target is None or dim is not S):
                    raise refuse(op, f"it uses positions that {owner.name} mixes ({operand.type})")

    def _without_batch(self, op: Op, shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
        if any(BATCH in d.symbols and d is not B for d in shape):
            raise refuse(op, f"it uses positions folded with the batch ([{', '.join(map(str, shape))}])")
        return tuple(ONE if d is B else d for d in shape)

    def _aligned(self, value: Value, rank: int) -> Value:
        """Rows first, then axes of 1 up to the rank, so that the rest broadcasts as it did without rows."""
        missing = rank - value.type.rank
        if not missing:
            return value
        rows, *rest = value.type.shape
        return self.build(ops.reshape, value, shape=(rows, *[ONE] * missing, *rest))

    def _same_rows(self, values: list[Value]) -> list[Value]:
        rows = next((v.type.shape[0] for v in values if v.type.shape[0] is not ONE), ONE)
        return [
            v if v.type.shape[0] is rows else self.build(ops.expand, v, shape=(rows, *v.type.shape[1:])) for v in values
        ]
