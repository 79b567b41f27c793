"""Values that depend on positions alone, rebuilt where a cache needs them.

In a cacheless graph all rows stand at 0, 1, 2, …, so an axis over the sequence counts positions. With a cache such an
axis has one of two roles. As *queries* it counts the new tokens, which stand at each row's own positions: the value
gets a leading axis for the rows. As *keys* it counts all places of a cache, 0 to C-1, the same for every row. A bias
on scores has an axis of each.
"""

from collections.abc import Callable

from graphwright.ir import Builder, Dim, DType, Op, TensorType, Type, Value, ops
from graphwright.ir.convention import BATCH, CAPACITY, SEQUENCE
from graphwright.ir.traits import Trait
from graphwright.passes.kv_cache.token_axes import refuse
from graphwright.passes.raising.probing import has_symbol, is_set_by_length

ONE = Dim.of(1)
B, S, C = Dim.of(BATCH), Dim.of(SEQUENCE), Dim.of(CAPACITY)


def over_keys(dims: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """A shape over the sequence as a shape over the places of a cache."""
    return tuple(d.substitute({SEQUENCE: C}) for d in dims)


def are_own_positions(value: Value) -> bool:
    """Whether a value of the forward graph is 0, 1, 2, … along the sequence, in some shape."""
    owner = value.owner
    while owner is not None and owner.definition in (ops.reshape, ops.expand):
        owner = owner.inputs[0].owner
    return owner is not None and owner.definition is ops.iota and owner.attributes["size"] is S


def _refuse_length(op: Op) -> None:
    if is_set_by_length(op):
        raise refuse(op, "it depends on how long the whole sequence is, which is not known while it grows")


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
        self._key_length = key_length
        self._keys: Value | None = None
        self._constants: dict[Value, Value] = {}
        self._rebuilt_values: dict[tuple[Value, int | None], Value] = {}

    def constant(self, value: Value) -> Value:
        """A weight, or a value that depends on neither tokens nor positions."""
        if value.weight is not None:
            return self.build.graph.weight(value.weight)
        if value not in self._constants:
            owner = value.owner
            assert owner is not None
            _refuse_length(owner)
            operands = [None if v is None else self.constant(v) for v in owner.operands]
            new = self.build.op(owner.definition, *operands, **owner.attributes)
            self._constants.update(zip(owner.results, new.results, strict=True))
        return self._constants[value]

    # -- operands of ops over data

    def operand(self, op: Op, value: Value, result: Type) -> Value:
        """A positional operand of an op over new tokens with that result, shaped to broadcast as it did."""
        if op.definition is ops.rope:
            own = are_own_positions(value)
            return self.positions if own else self.build(ops.reshape, self._at(op, value, None), shape=(B, S))
        assert isinstance(result, TensorType)
        if value.defined_by(ops.constant) is not None:
            return self.constant(value)  # the same number at every position
        rows = self._at(op, value, None)
        if rows.type.shape[0] is ONE:
            return self.build(ops.reshape, rows, shape=rows.type.shape[1:])
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

    def operand_over_keys(self, op: Op, value: Value) -> Value:
        """A positional operand of an op that is done for every place of a cache."""
        axis = next(i for i, d in enumerate(value.type.shape) if SEQUENCE in d.symbols)
        found = self._at(op, value, axis)
        return self.build(ops.reshape, found, shape=found.type.shape[1:])

    def bias(self, op: Op, value: Value) -> Value:
        """A bias [[batch, heads,] queries, keys] on an attention's scores."""
        shape = value.type.shape
        keys = len(shape) - 1 if SEQUENCE in shape[-1].symbols else None
        rows, *rest = self._at(op, value, keys).type.shape
        if len(shape) == 4 and rest[0] is not ONE:
            raise refuse(op, f"its bias {value.type} tells the rows of a batch apart")
        rest = rest[1:] if len(shape) == 4 else [ONE] * (3 - len(shape)) + rest
        return self.build(ops.reshape, self._at(op, value, keys), shape=(rows, *rest))

    # -- values

    def _at(self, op: Op, value: Value, keys: int | None) -> Value:
        """[rows, …]: the value over new tokens, and over keys on the axis `keys`; its own batch axis becomes 1."""
        if (value, keys) not in self._rebuilt_values:
            self._rebuilt_values[value, keys] = self._rebuilt(op, value, keys)
        return self._rebuilt_values[value, keys]

    def _rebuilt(self, op: Op, value: Value, keys: int | None) -> Value:
        owner = value.owner
        if sum(SEQUENCE in d.symbols and i != keys for i, d in enumerate(value.type.shape)) > 1:
            raise refuse(op, f"it uses {value.type}, which relates tokens to each other outside a known mask")
        if owner is not None and owner.definition is ops.constant:
            shape = self._shape(op, value.type.shape, keys)
            return self.build.constant(owner.attributes["value"], value.tensor.dtype, ONE, *shape)
        if not has_symbol(value, SEQUENCE):
            if has_symbol(value, BATCH):
                raise refuse(op, f"it uses {value.type}, which tells the rows of a batch apart")
            return self.build(ops.reshape, self.constant(value), shape=(ONE, *value.type.shape))
        assert owner is not None
        if owner.definition is ops.iota and owner.attributes["size"] is S:
            places = self._lookup if keys is None else self._all_places()
            places = places if keys is None else self.build(ops.reshape, places, shape=(ONE, C))
            dtype = value.tensor.dtype
            return places if dtype is DType.I64 else self.build(ops.cast, places, dtype=dtype)
        if owner.definition is ops.slice and self._begins_at_table(owner):
            return self._beginning_of_table(op, owner, keys)
        return self._op_at(op, owner, value, keys)

    def _all_places(self) -> Value:
        """0 to C-1, i64 [C]; places that no row has reached, which nobody sees, count as the last that one has."""
        if self._keys is None:
            longest = self.build(ops.amax, self._key_length, axes=(0,), keepdims=True)
            last = self.build(ops.sub, longest, 1)
            self._keys = self.build(ops.minimum, self.build(ops.iota, size=C, dtype=DType.I64), last)
        return self._keys

    def _op_at(self, op: Op, owner: Op, value: Value, keys: int | None) -> Value:
        """An op over positional values, done for every row."""
        definition = owner.definition
        _refuse_length(owner)
        inner = self._key_axes(op, owner, keys)
        if definition is ops.embedding:
            indices = self._at(op, owner.required("indices"), inner[1])
            return self.build(definition, self.constant(owner.required("weight")), indices)
        if definition is ops.gather and not has_symbol(owner.inputs[0], SEQUENCE):
            axis = owner.attribute("axis", int)
            table = self.constant(owner.required("x"))
            return self._looked_up(table, self._at(op, owner.required("indices"), inner[1]), axis % table.type.rank)
        operands = [self._at(op, v, axis) for v, axis in zip(owner.inputs, inner, strict=True)]
        rows = operands[0].type.shape[0]
        if definition in (ops.reshape, ops.expand):
            shape = self._shape(op, owner.attribute("shape", tuple[Dim, ...]), keys)
            return self.build(definition, operands[0], shape=(rows, *shape))
        if definition is ops.transpose:
            moved = (0, *(p + 1 for p in owner.attribute("permutation", tuple[int, ...])))
            return self.build(definition, operands[0], permutation=moved)
        if definition is ops.split_heads:
            _, heads, sequence, size = self._shape(op, value.type.shape, keys)
            parts = self.build(ops.reshape, operands[0], shape=(rows, ONE, sequence, heads, size))
            return self.build(ops.transpose, parts, permutation=(0, 1, 3, 2, 4))
        if definition in (ops.slice, ops.concat):
            axis = owner.attribute("axis", int)
            attributes = {**owner.attributes, "axis": axis % value.type.rank + 1}
            return self.build(definition, *self._same_rows(operands), **attributes)
        if not definition.has(Trait.ELEMENTWISE):
            where = owner.location or "?"
            raise refuse(op, f"its positions come from {definition.name} at {where}: that cannot be rebuilt per row")
        return self.build(definition, *(self._aligned(v, value.type.rank + 1) for v in operands), **owner.attributes)

    # -- tables

    def _begins_at_table(self, owner: Op) -> bool:
        """Whether a slice cuts an axis of fixed length to the sequence."""
        axis = owner.attribute("axis", int)
        cut, whole = owner.result.type.shape[axis], owner.inputs[0].type.shape[axis]
        return SEQUENCE in cut.symbols and SEQUENCE not in whole.symbols

    def _beginning_of_table(self, op: Op, owner: Op, keys: int | None) -> Value:
        """The first places of a table: each row looks up its own; keys are at all of them."""
        source = owner.inputs[0]
        axis = owner.attribute("axis", int) % source.type.rank
        if (
            owner.attribute("step", int) != 1
            or owner.attribute("start", Dim) != 0
            or owner.result.type.shape[axis] is not S
        ):
            raise refuse(op, f"its positions are a slice of {source.type} that does not begin at 0")
        if keys == axis:
            return self.build(ops.gather, self._at(op, source, None), self._all_places(), axis=axis + 1)
        table = self._at(op, source, keys)
        if table.type.shape[0] is not ONE:
            raise refuse(op, f"it uses {owner.result.type}, which relates tokens to each other outside a known mask")
        table = self.build(ops.reshape, table, shape=table.type.shape[1:])
        return self._looked_up(table, self._lookup, axis)

    def _looked_up(self, table: Value, indices: Value, axis: int) -> Value:
        """[rows, …]: of a table the slices at the indices [rows, …] of one axis."""
        found = self.build(ops.gather, table, indices, axis=axis)
        order = (axis, *(i for i in range(found.type.rank) if i != axis))
        return found if not axis else self.build(ops.transpose, found, permutation=order)

    # -- shapes

    def _key_axes(self, op: Op, owner: Op, keys: int | None) -> list[int | None]:
        """Of each operand the axis that becomes the result's axis of keys, once no op on positions mixes them."""
        found: list[int | None] = []
        for operand, axes in zip(owner.inputs, owner.definition.axis_flow(owner), strict=True):
            for dim, target in zip(operand.type.shape, axes, strict=True):
                if SEQUENCE in dim.symbols and (target is None or dim is not S):
                    raise refuse(op, f"it uses positions that {owner.name} mixes ({operand.type})")
            over = (i for i, t in enumerate(axes) if t == keys and SEQUENCE in operand.type.shape[i].symbols)
            found.append(None if keys is None else next(over, None))
        return found

    def _shape(self, op: Op, shape: tuple[Dim, ...], keys: int | None) -> tuple[Dim, ...]:
        if any(BATCH in d.symbols and d is not B for d in shape):
            raise refuse(op, f"it uses positions folded with the batch ([{', '.join(map(str, shape))}])")
        return tuple(ONE if d is B else over_keys((d,))[0] if i == keys else d for i, d in enumerate(shape))

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
