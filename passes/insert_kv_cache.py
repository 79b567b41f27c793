"""KV-cache insertion: from a graph over whole sequences to one that continues them.

Every axis that holds the sequence symbol has a role. In the new graph it holds the *query* tokens, the new ones. The
one place that needs the *key* role, all tokens so far, is attention's k and v: there a cache is inserted. Everything
else on the way from tokens to logits must treat each token by itself; an op that mixes the token axis in another way is
refused, which together with attention masks that never look ahead is the proof that the model is causal.

Values that depend on positions alone (learned position embeddings, say) are rebuilt at each row's own positions, so the
rows of a batch may stand at different lengths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Dim, DType, Graph, Op, PassError, Program, StateType, TensorType, Value, ops
from graphwright.ir.ops.rules import is_elementwise
from graphwright.ir.ops.shape import as_dims, as_ints
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import Pass, has_forward, has_prefill, register
from graphwright.passes.probing import BATCH, SEQUENCE, positional_values

CAUSAL_MASKS = ("causal", "sliding", "chunked")
TOKENS = "input_ids"
CAPACITY = Dim.of("C")


@register
@dataclass(frozen=True)
class InsertKVCache(Pass):
    """Turns `forward` into `prefill`: new tokens in, logits for them out, keys and values kept in contiguous caches.

    New inputs: past_length and new_length, i64 [B] (tokens in each row's cache, and real tokens among the S new ones,
    which are padded on the right), and for each attention the caches `past.N.key` and `past.N.value`, returned as
    `present.N.key` and `present.N.value`.
    """

    name: ClassVar[str] = "insert-kv-cache"
    requires = (has_forward,)
    ensures = (has_prefill,)

    def run(self, program: Program) -> Outcome:
        forward = program.graphs.pop("forward")
        try:
            rebuilt = _Rebuild(forward)
            program.graphs["prefill"] = rebuilt.run()
        except BaseException:
            program.graphs["forward"] = forward
            raise
        return Outcome(rebuilt.hits)


def refuse(op: Op | None, reason: str) -> PassError:
    where = f" at {op.location}" if op is not None and op.location else ""
    name = f"{op.name}{where}: " if op is not None else ""
    return PassError(f"insert-kv-cache: {name}{reason}")


class _Rebuild:
    """Builds the prefill graph of a forward graph."""

    def __init__(self, forward: Graph) -> None:
        self.forward = forward
        self.graph = Graph("prefill")
        self.build = Builder(self.graph)
        self.is_positional: Callable[[Value], bool] = positional_values(forward)
        self.values: dict[Value, Value] = {}
        self.rows: dict[Value, Value] = {}
        self.caches: list[tuple[str, Value]] = []
        self.hits: Counter[str] = Counter()
        tokens = [v for v in forward.inputs if v.name == TOKENS]
        if len(forward.inputs) != 1 or not tokens or tokens[0].type != TensorType(DType.I64, _dims(BATCH, SEQUENCE)):
            listed = ", ".join(f"{v.name}: {v.type}" for v in forward.inputs)
            raise refuse(None, f"the graph must have the one input {TOKENS}: i64[B, S]; it has {listed}")
        self.values[tokens[0]] = self.graph.add_input(TOKENS, tokens[0].type)
        self.past = self.graph.add_input("past_length", TensorType(DType.I64, _dims(BATCH)))
        self.new = self.graph.add_input("new_length", TensorType(DType.I64, _dims(BATCH)))
        start = self.build(ops.reshape, self.past, shape=_dims(BATCH, 1))
        iota = self.build(ops.iota, size=Dim.of(SEQUENCE), dtype=DType.I64)
        self.positions = self.build(ops.add, start, iota)
        self.key_length = self.build(ops.add, self.past, self.new)
        # padding may stand past the end of a table of positions: it looks up the row's last real token's place
        last = self.build(ops.sub, self.build(ops.reshape, self.key_length, shape=_dims(BATCH, 1)), 1)
        self.lookup_positions = self.build(ops.minimum, self.positions, last)

    def run(self) -> Graph:
        logits = self.forward.outputs.get("logits")
        if logits is None or len(self.forward.outputs) != 1:
            raise refuse(None, f"the graph must return logits alone; it returns {', '.join(self.forward.outputs)}")
        if logits.type.shape[:2] != _dims(BATCH, SEQUENCE):
            raise refuse(None, f"logits must be [B, S, vocabulary]; they are {logits.type}")
        for op in self.forward:
            if all(self.is_positional(v) for v in op.results):
                continue
            self.build.location = op.location
            if op.definition is ops.attention:
                self.attention(op)
            else:
                self.token_wise(op)
        self.graph.outputs["logits"] = self.values[logits]
        for name, value in self.caches:
            self.graph.outputs[f"present.{name}"] = value
        self.graph.erase_dead()
        return self.graph

    # -- data

    def attention(self, op: Op) -> None:
        mask = op.attributes["mask"]
        if mask not in CAUSAL_MASKS:
            raise refuse(op, f"its mask is '{mask}': tokens see later ones, so there is no causal model to continue")
        if op.operand("bias") is not None:
            raise refuse(op, "it has a bias that is no known mask; a bias over past keys cannot be rebuilt yet")
        if op.operand("key_length") is not None:
            raise refuse(op, "it limits its keys already: the graph seems to have a cache")
        if not self._stands_at_own_positions(op.required("positions")):
            raise refuse(op, "its queries do not stand at the positions 0, 1, 2, …")
        cached: list[Value] = []
        for name in ("k", "v"):
            operand = op.required(name)
            if self.is_positional(operand) or operand.type.shape[2] is not Dim.of(SEQUENCE):
                raise refuse(op, f"its {name} {operand.type} is not made of the sequence's tokens")
            cached.append(self.append(name, self.values[operand]))
        number = len(self.caches) // 2
        self.caches += [(f"{number}.key", cached[0]), (f"{number}.value", cached[1])]
        sinks = op.operand("sinks")
        self.values[op.result] = self.build(
            ops.attention,
            self.values[op.required("q")],
            *cached,
            self.positions,
            self.key_length,
            None,
            None if sinks is None else self.constant(sinks),
            **op.attributes,
        )
        self.hits["cache"] += 1

    def append(self, operand: str, new: Value) -> Value:
        batch, heads, _, size = new.type.shape
        type = StateType("contiguous", TensorType(new.tensor.dtype, (batch, heads, CAPACITY, size)))
        number = len(self.caches) // 2
        past = self.graph.add_input(f"past.{number}.{'key' if operand == 'k' else 'value'}", type)
        return self.build(ops.kv_append, past, new, self.past)

    def token_wise(self, op: Op) -> None:
        """Copies an op over the tokens' data, once each token is known to go its own way."""
        self._check_tokens_apart(op)
        result = op.results[0].type
        operands: list[Value | None] = []
        for value in op.operands:
            if value is None or not self.is_positional(value):
                operands.append(None if value is None else self.values[value])
            elif SEQUENCE not in {s for d in value.type.shape for s in d.symbols}:
                operands.append(self.constant(value))
            else:
                operands.append(self.at_rows(op, value, result))
        new = self.graph.insert(op.definition, operands, op.attributes, location=op.location)
        for old, value in zip(op.results, new.results, strict=True):
            if value.type != old.type:
                raise refuse(op, f"it gives {value.type} at each row's own positions, {old.type} before")
            self.values[old] = value

    def _check_tokens_apart(self, op: Op) -> None:
        flow = op.definition.axis_flow(op)
        for value, axes in zip(op.inputs, flow, strict=True):
            for axis, (dim, target) in enumerate(zip(value.type.shape, axes, strict=True)):
                if SEQUENCE not in dim.symbols or self.is_positional(value):
                    continue
                if target is None:
                    raise refuse(
                        op,
                        f"it mixes tokens along axis {axis} of {value.type}; only attention may, under a causal mask",
                    )
                if op.results[0].type.shape[target] is not dim or dim is not Dim.of(SEQUENCE):
                    raise refuse(op, f"axis {axis} of {value.type} does not hold one token a place")

    def constant(self, value: Value) -> Value:
        """A weight, or a value of a fixed shape that depends on nothing."""
        if value.weight is not None:
            return self.graph.weight(value.weight)
        if value not in self.values:
            assert value.owner is not None
            operands = [None if v is None else self.constant(v) for v in value.owner.operands]
            new = self.graph.insert(
                value.owner.definition, operands, value.owner.attributes, location=value.owner.location
            )
            self.values.update(zip(value.owner.results, new.results, strict=True))
        return self.values[value]

    # -- positions

    def _stands_at_own_positions(self, positions: Value) -> bool:
        if not self.is_positional(positions):
            return False
        owner = positions.owner
        while owner is not None and owner.definition in (ops.reshape, ops.expand):
            owner = owner.inputs[0].owner
        return owner is not None and owner.definition is ops.iota and owner.attributes["size"] is Dim.of(SEQUENCE)

    def at_rows(self, op: Op, value: Value, result: object) -> Value:
        """A positional operand of an op over data, at each row's positions, shaped to broadcast as it did."""
        if op.definition is ops.rope and self._stands_at_own_positions(value):
            return self.positions
        rows = self.row_values(op, value)
        if op.definition is ops.rope:
            return self.build(ops.reshape, rows, shape=_dims(BATCH, SEQUENCE))
        assert isinstance(result, TensorType)
        batch = next((i for i, d in enumerate(result.shape) if d is Dim.of(BATCH)), None)
        if batch is None:
            raise refuse(op, f"its result {result} has no batch axis")
        place = batch - (result.rank - value.type.rank)
        shape = list(value.type.shape)
        leading = shape[: max(place, 0)]
        if any(d.constant != 1 for d in leading) or (place >= 0 and shape[place] not in (Dim.of(1), Dim.of(BATCH))):
            raise refuse(op, f"the positions in {value.type} do not line up with the batch of {result}")
        if place < 0:
            return self.build(ops.reshape, rows, shape=(Dim.of(BATCH), *[Dim.of(1)] * (-place - 1), *shape))
        return self.build(ops.reshape, rows, shape=(*leading, Dim.of(BATCH), *shape[place + 1 :]))

    def row_values(self, op: Op, value: Value) -> Value:
        """A positional value with a new leading axis for the rows: what it is at each row's own positions."""
        if value in self.rows:
            return self.rows[value]
        owner = value.owner
        assert owner is not None
        sequence_axes = [i for i, d in enumerate(value.type.shape) if SEQUENCE in d.symbols]
        if len(sequence_axes) > 1:
            raise refuse(op, f"it uses {value.type}, which relates tokens to each other outside a known mask")
        if not sequence_axes:
            result = self._broadcast_constant(value)
        elif owner.definition is ops.iota and owner.attributes["size"] is Dim.of(SEQUENCE):
            result = self.lookup_positions
            if value.tensor.dtype is not DType.I64:
                result = self.build(ops.cast, result, dtype=value.tensor.dtype)
        elif owner.definition is ops.slice and SEQUENCE not in {
            s for d in owner.inputs[0].type.shape for s in d.symbols
        }:
            result = self._row_slice(op, owner)
        elif owner.definition is ops.constant:
            result = self._broadcast_constant(value)
        else:
            result = self._row_op(op, owner, value)
        self.rows[value] = result
        return result

    def _broadcast_constant(self, value: Value) -> Value:
        constant = self.constant(value)
        return self.build(ops.reshape, constant, shape=(Dim.of(1), *value.type.shape))

    def _row_op(self, op: Op, owner: Op, value: Value) -> Value:
        """An op over positional values, done for every row."""
        definition = owner.definition
        self._check_positions_apart(op, owner)
        if definition is ops.embedding:
            return self.build(
                definition, self.constant(owner.required("weight")), self.row_values(op, owner.required("indices"))
            )
        if definition is ops.gather and owner.attributes["axis"] == 0:
            return self.build(
                definition, self.constant(owner.required("x")), self.row_values(op, owner.required("indices")), axis=0
            )
        operands = [self.row_values(op, v) for v in owner.inputs]
        if definition is ops.reshape or definition is ops.expand:
            rows = operands[0].type.shape[0]
            return self.build(definition, operands[0], shape=(rows, *as_dims(owner.attributes["shape"])))
        if definition is ops.transpose:
            moved = (0, *(p + 1 for p in as_ints(owner.attributes["permutation"])))
            return self.build(definition, operands[0], permutation=moved)
        if definition in (ops.slice, ops.concat):
            axis = owner.attributes["axis"]
            assert isinstance(axis, int)
            attributes = {**owner.attributes, "axis": axis % value.type.rank + 1}
            return self.build(definition, *_same_rows(self.build, operands), **attributes)
        if not is_elementwise(definition):
            raise refuse(
                op,
                f"its positions come from {definition.name} at {owner.location or '?'}: that cannot be rebuilt per row",
            )
        aligned = [self._align(v, value.type.rank + 1) for v in operands]
        return self.build(definition, *aligned, **owner.attributes)

    def _row_slice(self, op: Op, owner: Op) -> Value:
        """The first S places of a table: each row looks up its own."""
        axis, start, step = (owner.attributes[n] for n in ("axis", "start", "step"))
        assert isinstance(axis, int)
        source = owner.inputs[0]
        axis %= source.type.rank
        if step != 1 or start != 0 or owner.result.type.shape[axis] is not Dim.of(SEQUENCE):
            raise refuse(op, f"its positions are a slice of {source.type} that does not begin at 0")
        found = self.build(ops.gather, self.constant(source), self.lookup_positions, axis=axis)
        if not axis:
            return found
        order = (axis, *(i for i in range(found.type.rank) if i != axis))
        return self.build(ops.transpose, found, permutation=order)

    def _check_positions_apart(self, op: Op, owner: Op) -> None:
        for operand, axes in zip(owner.inputs, owner.definition.axis_flow(owner), strict=True):
            for dim, target in zip(operand.type.shape, axes, strict=True):
                if SEQUENCE in dim.symbols and (target is None or dim is not Dim.of(SEQUENCE)):
                    raise refuse(op, f"it uses positions that {owner.name} mixes ({operand.type})")

    def _align(self, value: Value, rank: int) -> Value:
        """Rows first, then axes of 1 up to the rank, so that the rest broadcasts as it did without rows."""
        missing = rank - value.type.rank
        if not missing:
            return value
        rows, *rest = value.type.shape
        return self.build(ops.reshape, value, shape=(rows, *[Dim.of(1)] * missing, *rest))


def _same_rows(build: Builder, values: list[Value]) -> list[Value]:
    rows = next((v.type.shape[0] for v in values if v.type.shape[0].constant != 1), Dim.of(1))
    return [v if v.type.shape[0] is rows else build(ops.expand, v, shape=(rows, *v.type.shape[1:])) for v in values]


def _dims(*dims: str | int) -> tuple[Dim, ...]:
    return tuple(Dim.of(d) for d in dims)
