"""The residual stream: the values that layers add to and read through norms, and the weights on its way in and out."""

from dataclasses import dataclass

from graphwright.ir import Graph, Op, Value, ops
from graphwright.passes.quantization.weight_folds.scale_flow import NORMS, READERS, Blocked, named
from graphwright.passes.quantization.weight_folds.weight_changes import Place, refusal_of_weight

WRITERS = {ops.linear: ("weight", "bias"), ops.moe_experts: ("down", "down_bias")}
"""Ops that write into the stream: the operands whose last axis but one, and last axis, are its channels."""


@dataclass(frozen=True)
class Reader:
    """An op that multiplies the stream by the columns of a weight, through a norm or as it is."""

    op: Op
    norm: Op | None


class ResidualStream:
    """What may be rotated of one graph, from its first embedding on. Raises `Blocked` where a rotation cannot pass.

    `tables` are places whose last axis are the stream's channels (embeddings, biases, constants), `rows` those where
    the last axis but one is; `readers` are the ops that read it, `norms` the norms that they read it through.
    """

    def __init__(self, graph: Graph) -> None:
        self.tables: list[Place] = []
        self.rows: list[Place] = []
        self.readers: list[Reader] = []
        self.norms: list[Op] = []
        self.first = next((op for op in graph if op.definition is ops.embedding), None)
        if self.first is None:
            raise Blocked(f"graph '{graph.name}' has no embedding that a residual stream begins at")
        self.size = self.first.result.type.shape[-1].evaluate({})
        self._graph = graph
        self._stream: dict[Value, None] = {}
        self._pending = [self.first.result]
        while self._pending:
            value = self._pending.pop()
            if value not in self._stream:
                self._stream[value] = None
                self._written(value)
                self._read(value)

    @property
    def reads_mean(self) -> bool:
        """Whether a norm subtracts the mean, which a rotation then must leave as it is."""
        return any(norm.definition is ops.layer_norm for norm in self.norms)

    def _written(self, value: Value) -> None:
        op = value.owner
        if op is None:
            raise Blocked(f"input {value.name} is added to the residual stream")
        if op.definition is ops.embedding:
            self._table(op, "weight")
        elif op.definition in WRITERS:
            rows, bias = WRITERS[op.definition]
            self._require(op, rows)
            self.rows.append((op, op.definition.operand_index(rows)))
            if op.operand(bias) is not None:
                self._table(op, bias)
        elif op.definition in (ops.add, ops.sub):
            for name in ("x", "y"):
                operand = op.required(name)
                if operand.type.shape[-1:] != value.type.shape[-1:]:
                    raise Blocked(f"{named(op)} adds a number to all channels of the residual stream")
                if operand.weight is not None:
                    self._table(op, name)
                else:
                    self._pending.append(operand)
        elif (source := _same_channels(op)) is not None:
            self._pending.append(source)
        else:
            raise Blocked(f"{named(op)} writes into the residual stream")

    def _read(self, value: Value) -> None:
        if self._graph.is_output(value):
            raise Blocked("the residual stream is an output of the program")
        for op in value.users:
            if op.definition in NORMS and op.required("x") is value:
                self.norms.append(op)
                for name in ("weight", "bias") if op.definition is ops.layer_norm else ("weight",):
                    if op.operand(name) is not None:
                        self._require(op, name)
                self._normed(op.result, op)
            elif op.definition in READERS and op.required("x") is value:
                self._reader(op, None)
            elif op.definition in (ops.add, ops.sub) or _same_channels(op) is value:
                self._pending.append(op.result)
            else:
                raise Blocked(f"{named(op)} reads the residual stream")

    def _normed(self, value: Value, norm: Op) -> None:
        if self._graph.is_output(value):
            raise Blocked(f"{named(norm)} is an output of the program")
        for op in value.users:
            if op.definition in READERS and op.required("x") is value:
                self._reader(op, norm)
            elif op.definition in (ops.take_tokens, ops.reshape) and _same_channels(op) is value:
                self._normed(op.result, norm)
            else:
                raise Blocked(f"{named(op)} reads the residual stream through {named(norm)}")

    def _reader(self, op: Op, norm: Op | None) -> None:
        self._require(op, READERS[op.definition])
        if norm is not None and norm.definition is ops.layer_norm and norm.operand("bias") is not None:
            if op.definition is not ops.linear:
                raise Blocked(f"{named(op)} reads the residual stream through the bias of {named(norm)}")
            if op.operand("bias") is not None:
                self._require(op, "bias")
        self.readers.append(Reader(op, norm))

    def _table(self, op: Op, name: str) -> None:
        self._require(op, name)
        self.tables.append((op, op.definition.operand_index(name)))

    def _require(self, op: Op, name: str) -> None:
        problem = refusal_of_weight(op.required(name))
        if problem is not None:
            raise Blocked(f"the {name} of {named(op)} {problem}")


def _same_channels(op: Op) -> Value | None:
    """The operand whose vectors along the last axis the result has, each times a number at most."""
    if op.definition is ops.take_tokens:
        return op.required("x")
    if op.definition is ops.reshape:
        x = op.required("x")
        return x if x.type.shape[-1:] == op.result.type.shape[-1:] else None
    if op.definition in (ops.mul, ops.div):
        x, y = op.required("x"), op.required("y")
        if _is_number(y) and x.type.shape[-1:] == op.result.type.shape[-1:]:
            return x
        if op.definition is ops.mul and _is_number(x) and y.type.shape[-1:] == op.result.type.shape[-1:]:
            return y
    return None


def _is_number(value: Value) -> bool:
    """Whether a value is one number for each vector along the last axis."""
    return not value.type.shape or value.type.shape[-1].constant == 1
