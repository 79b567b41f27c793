"""A batch for the graph of one sequence: what is made of its token ids [S] gets an axis `B` before all others.

Weights, and what depends on the length alone, stay as they are. An op is given its operands with the new axis first,
and its attributes that name axes are moved. An op that has a batch axis of its own, and no place for one more, is given
both folded into one. What comes out is believed only where the op's declaration says that the rows stay apart in it,
and that all other axes go where they went. Any other op is refused by name.
"""

from collections.abc import Sequence

from graphwright.ir import Builder, Dim, Graph, Op, TensorType, UnsupportedError, Value, ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.convention import BATCH
from graphwright.ir.dims import product
from graphwright.ir.errors import IRTypeError
from graphwright.ir.location import at_source
from graphwright.ir.ops.rules import ONE, Shape
from graphwright.ir.traits import Trait

B = Dim.of(BATCH)


def add_batch(graph: Graph) -> None:
    """Inputs and outputs [...] become [B, ...], each row of which is what it was: in place.

    Raises `UnsupportedError` for an op that cannot take a batch.
    """
    _Batching(graph).run()


class _Batching:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.build = Builder(graph)
        self.rows: dict[Value, Value] = {}
        """[B, ...] for each value [...] that is made of an input."""

    def run(self) -> None:
        for value in self.graph.inputs:
            self.rows[value] = Value(value.tensor.with_shape(B, *value.tensor.shape), name=value.name)
        for op in list(self.graph):
            if not any(v in self.rows for v in op.inputs):
                continue
            self.build.location = op.location
            made = self._attention(op) if op.definition is ops.attention else self._beside(op)
            made = made or self._folded(op)
            if made is None:
                where = f" at {op.location}" if op.location else ""
                raise UnsupportedError(
                    f"its token ids have no batch, and {op.name}{where} cannot be given one: take ids "
                    f"[batch, sequence]{at_source(op.location)}"
                )
            self.rows.update(zip(op.results, made, strict=True))
        self.graph.inputs = [self.rows[value] for value in self.graph.inputs]
        self.graph.outputs = {name: self._expanded(value) for name, value in self.graph.outputs.items()}
        self.graph.erase_dead()

    def _shaped(self, value: Value, *shape: Dim) -> Value:
        return value if value.type.shape == shape else self.build(ops.reshape, value, shape=shape)

    def _expanded(self, value: Value) -> Value:
        """The value with a batch, of equal rows if it depends on no input."""
        return self.rows.get(value) or self.build(ops.expand, value, shape=(B, *value.type.shape))

    # -- the batch beside all axes

    def _beside(self, op: Op) -> Sequence[Value] | None:
        """The op on operands [B, ...]: those that depend on no input as they are, or, if they must, repeated too."""
        tensors = all(isinstance(v.type, TensorType) for v in op.inputs)
        for repeated in (False, True) if tensors else (False,):
            rows = [None if v is None else self._expanded(v) if repeated else self.rows.get(v, v) for v in op.operands]
            operands = [self._aligned(op, row, v) for row, v in zip(rows, op.operands, strict=True)]
            moves = operands[0] is not op.operands[0]
            attributes = {name: _moved(name, a) if moves else a for name, a in op.attributes.items()}
            try:
                new = self.graph.insert(op.definition, operands, attributes, location=op.location)
            except IRTypeError:
                continue
            return self._in_front(op, new)
        return None

    def _aligned(self, op: Op, row: Value | None, value: Value | None) -> Value | None:
        """Where shapes are aligned at the right, the batch goes left of the longest."""
        if (
            row is None
            or value is None
            or row is value
            or not (op.definition.has(Trait.ELEMENTWISE) or op.definition in (ops.expand, ops.matmul))
        ):
            return row
        return self._shaped(row, B, *[ONE] * (op.result.type.rank - value.type.rank), *value.type.shape)

    def _in_front(self, op: Op, new: Op) -> Sequence[Value] | None:
        """The results of the new op with the batch in front; None if the axes do not flow as in the old one."""
        flows = op.definition.axis_flow(op), new.definition.axis_flow(new)
        pairs = list(zip(op.inputs, new.inputs, *flows, strict=True))
        places = {flow[0] for old, row, _, flow in pairs if row is not old}
        place = places.pop()
        if places or place is None:
            return None

        def before(axis: int | None) -> int | None:
            return axis if axis is None or axis < place else axis - 1

        for old, row, was, flow in pairs:
            rest = flow[row.type.rank - old.type.rank :]
            if place in rest or tuple(map(before, rest)) != was:
                return None
        found = list(new.results)
        if place != 0 and len(found) == 1:
            others = (i for i in range(found[0].type.rank) if i != place)
            found = [self.build(ops.transpose, found[0], permutation=(place, *others))]
        wanted = [(B, *result.type.shape) for result in op.results]
        return found if [value.type.shape for value in found] == wanted else None

    # -- the batch within an axis that is there

    def _folded(self, op: Op) -> Sequence[Value] | None:
        """The op on operands [B*n, ...] for [n, ...], for one whose first axis is a batch already."""
        flows = op.definition.axis_flow(op)
        leads = {value for value, flow in zip(op.inputs, flows, strict=True) if flow[:1] == (0,)}
        if len(op.results) != 1 or any(v in self.rows and v not in leads for v in op.inputs):
            return None

        def folded(value: Value) -> Value:
            first, *rest = value.type.shape
            return self._shaped(self._expanded(value), B * first, *rest)

        operands = [v if v is None or v not in leads else folded(v) for v in op.operands]
        try:
            new = self.graph.insert(op.definition, operands, op.attributes, location=op.location)
        except IRTypeError:
            return None
        first, *rest = op.result.type.shape
        if new.result.type.shape != (B * first, *rest) or new.definition.axis_flow(new) != flows:
            return None
        return [self._shaped(new.result, B, first, *rest)]

    def _attention(self, op: Op) -> Sequence[Value] | None:
        """Attention of heads [n, h, ...] is one of n*h heads, so the batch takes the place of n.

        n is 1, or the heads themselves where torch was given [heads, sequence, size].
        """
        q, k, v, positions = (op.required(name) for name in ("q", "k", "v", "positions"))
        bias, batch = op.operand("bias"), q.type.shape[0]
        known = [v for v in (q, k, v, positions, bias) if v is not None]
        if batch.constant is None or positions.type.shape[0] is not ONE or positions in self.rows or known != op.inputs:
            return None

        def heads(value: Value) -> Value:
            first, second, *rest = value.type.shape
            return self._shaped(self._expanded(value), B, first * second, *rest)

        hidden = None if bias is None else self._bias(bias, q.type.shape[:2])
        result = self.build(ops.attention, *map(heads, (q, k, v)), positions, None, hidden, **op.attributes)
        return [self._shaped(result, B, *op.result.type.shape)]

    def _bias(self, bias: Value, heads: Shape) -> Value:
        """The bias [B or 1, heads or 1, queries, keys]."""
        row = self.rows.get(bias, bias)
        lead = ONE if row is bias else B
        *over, queries, keys = [*[ONE] * (4 - bias.type.rank), *bias.type.shape]
        if any(d is not ONE for d in over) and tuple(over) != heads:
            row = self._shaped(row, lead, *over, queries, keys)
            row, over = self.build(ops.expand, row, shape=(lead, *heads, queries, keys)), list(heads)
        return self._shaped(row, lead, product(over), queries, keys)


def _moved(name: str, attribute: Attribute) -> Attribute:
    """An attribute that names axes, or their lengths, with one more axis in front."""
    match name, attribute:
        case "axis", int():
            return attribute + 1 if attribute >= 0 else attribute
        case "axes", tuple():
            return tuple(_moved("axis", axis) for axis in attribute)
        case "permutation", tuple():
            return (0, *(_moved("axis", axis) for axis in attribute))
        case "shape", tuple():
            return (B, *attribute)
        case _:
            return attribute
