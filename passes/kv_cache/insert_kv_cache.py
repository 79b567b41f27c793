"""KV-cache insertion: from a graph over whole sequences to one that continues them.

Every axis over the sequence has a role. In the new graph it counts the *query* tokens, the new ones; attention's keys
and values are needed for all tokens so far, the *key* role. `cache_placement` chooses what is cached for them, and what
follows behind a cache is computed for all its places. Recurrences carry a state of fixed size instead. Everything else
on the way from tokens to logits must treat each token by itself (`token_axes`), which together with masks that never
look ahead is the proof that the model is causal.

Values that depend on positions alone (learned position embeddings, biases on scores) are rebuilt at each row's own
positions (`row_positions`), so the rows of a batch may stand at different lengths.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from graphwright.ir import Builder, Dim, DType, Graph, Op, Program, StateType, TensorType, Value, ops
from graphwright.ir.attributes import substitute
from graphwright.ir.convention import (
    BATCH,
    CONTEXT_LENGTH,
    ENCODE,
    FORWARD,
    LOGITS,
    NEW_LENGTH,
    PAST,
    PAST_LENGTH,
    PREFILL,
    PRESENT,
    SEQUENCE,
    SOURCE_SEQUENCE,
    context_window,
)
from graphwright.ir.dims import product
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import Pass, PassError, has_forward, has_prefill, register
from graphwright.passes.kv_cache.cache_placement import NoCutError, cut_behind, place_caches
from graphwright.passes.kv_cache.causality import STATE, Causality, carries_state
from graphwright.passes.kv_cache.context_lengths import with_context_length
from graphwright.passes.kv_cache.lookahead import with_causality
from graphwright.passes.kv_cache.ring_caches import Rings, choose_rings
from graphwright.passes.kv_cache.row_positions import C, RowPositions, over_keys
from graphwright.passes.kv_cache.token_axes import refuse
from graphwright.passes.raising.probing import has_symbol


@register
@dataclass(frozen=True)
class InsertKVCache(Pass):
    """Turns `forward` into `prefill`: new tokens in, logits for them out, what later tokens need of them kept.

    New inputs: past_length and new_length, i64 [B] (tokens in each row's cache, and real tokens among the S new ones,
    which are padded on the right), and the caches `past.N.…`, returned as `present.N.…`, N counting the attentions and
    recurrences: `key` and `value` [B, heads, C, size], or `latent` where both are made from it; a recurrence's `state`.

    With the layout "ring", attention under a window keeps rings [B, heads, window - 1, size], which do not grow with
    the context; other attentions, and those that share a cache with such, keep caches of capacity C.

    Inputs `context.N`, which `encode` gives, stay inputs; context_length, i64 [B], says how much of them is real.
    """

    layout: Literal["contiguous", "ring"] = "contiguous"

    name: ClassVar[str] = "insert-kv-cache"
    findings: ClassVar[tuple[str, ...]] = (
        "cache",
        "ring",
        "cross",
        "state",
        "ring-cache",
    )
    requires = (has_forward,)
    ensures = (has_prefill,)

    def run(self, program: Program) -> Outcome:
        rebuilt = _Rebuild(program.graphs[FORWARD], self.layout == "ring", context_window(program))
        try:
            prefill = rebuilt.run()
        except PassError as refusal:
            raise with_causality(refusal, program.graphs[FORWARD]) from None
        if ENCODE in program.graphs:
            program.graphs[ENCODE] = with_context_length(program.graphs[ENCODE])
        del program.graphs[FORWARD]
        program.graphs[PREFILL] = prefill
        return rebuilt.outcome


class _Rebuild:
    """Builds the prefill graph of a forward graph."""

    def __init__(self, forward: Graph, rings: bool, longest: int | None) -> None:
        self.forward = forward
        self.with_rings, self.longest = rings, longest
        self.graph = Graph(PREFILL)
        self.build = Builder(self.graph)
        self.values: dict[Value, Value] = {}
        """Values of the forward graph for the new tokens."""
        self.over_keys: dict[Value, Value] = {}
        """Values of the forward graph for all places of the caches."""
        self.presents: dict[str, Value] = {}
        self.ringed: dict[Value, int] = {}
        """Cached values that have rings, with their capacity."""
        self.layers = 0
        self.outcome = Outcome()
        self.proof = proof = Causality(forward)
        self.is_positional, self.is_free, self.axes = proof.is_positional, proof.is_free, proof.axes
        for value in forward.inputs:
            self.values[value] = self.graph.add_input(str(value.name), value.type)
        self.context_length: Value | None = None
        if any(SOURCE_SEQUENCE in d.symbols for v in forward.inputs for d in v.type.shape):
            self.context_length = self.graph.add_input(CONTEXT_LENGTH, TensorType(DType.I64, _dims(BATCH)))
        self.past = self.graph.add_input(PAST_LENGTH, TensorType(DType.I64, _dims(BATCH)))
        self.new = self.graph.add_input(NEW_LENGTH, TensorType(DType.I64, _dims(BATCH)))
        self.key_length = self.build(ops.add, self.past, self.new)
        self.rows = RowPositions(self.build, self.is_positional, self.past, self.key_length)
        self.rings = Rings(self.build, self.past, self.new, self.rows.positions)

    def run(self) -> Graph:
        logits = self._logits()
        self.proof.run()
        over_data = [op for op in self.forward if not all(self.is_positional(v) for v in op.results)]
        over_tokens = [op for op in over_data if not all(self.is_free(v) for v in op.results)]
        self.cached = self._placed([op for op in over_tokens if not self.proof.is_cross(op)])
        for op in over_data:
            self.build.location = op.location
            if self.proof.is_cross(op):
                self.cross_attention(op)
            elif op.definition is ops.attention:
                self.attention(op)
            elif carries_state(op):
                self.recurrence(op)
            else:
                self.token_wise(op)
        self.graph.outputs[LOGITS] = self.values[logits]
        self.graph.outputs |= self.presents
        self.graph.erase_dead()
        return self.graph

    def _logits(self) -> Value:
        logits = self.forward.outputs.get(LOGITS)
        if logits is None or len(self.forward.outputs) != 1:
            raise refuse(None, f"the graph must return logits alone; it returns {', '.join(self.forward.outputs)}")
        if logits.type.shape[:2] != _dims(BATCH, SEQUENCE):
            raise refuse(None, f"logits must be [B, S, vocabulary]; they are {logits.type}")
        return logits

    # -- placement

    def _placed(self, over_tokens: list[Op]) -> dict[Value, str]:
        """The values to cache, with the names of their caches."""
        demands: dict[Value, tuple[int, str]] = {}
        layers = 0
        for op in over_tokens:
            if op.definition is ops.attention:
                for name, role in (("k", "key"), ("v", "value")):
                    demands.setdefault(op.required(name), (layers, role))
            layers += op.definition is ops.attention or carries_state(op)
        try:
            cut = place_caches(demands, self.axes, self.is_free)
        except NoCutError:
            raise refuse(
                None, "keys and values cannot be cached: no value on their way holds one token a place"
            ) from None
        if self.with_rings:
            attentions = [op for op in over_tokens if op.definition is ops.attention]
            self.ringed = choose_rings(attentions, cut, self.longest, self.outcome)
        users: dict[Value, set[tuple[int, str]]] = {}
        for demand, user in demands.items():
            for value in cut_behind(demand, cut):
                users.setdefault(value, set()).add(user)
        names: dict[Value, str] = {}
        for value, found in users.items():
            layer, role = min(found)
            role = role if len({r for _, r in found}) == 1 else "latent"
            name, count = f"{layer}.{role}", 1
            while name in names.values():
                name, count = f"{layer}.{role}{count}", count + 1
            names[value] = name
        return names

    # -- data

    def attention(self, op: Op) -> None:
        bias, sinks = op.operand("bias"), op.operand("sinks")
        capacity = self.ringed.get(op.required("k"))
        self.values[op.result] = self.build(
            ops.attention,
            self.values[op.required("q")],
            self._keys(op.required("k")),
            self._keys(op.required("v")),
            self.rows.positions,
            self.key_length if capacity is None else None,
            None if bias is None else self.rows.bias(op, bias),
            None if sinks is None else self.rows.constant(sinks),
            None if capacity is None else self.rings.key_positions(capacity),
            **op.attributes,
        )
        self.layers += 1
        self.outcome.hit("cache" if capacity is None else "ring", op)

    def _keys(self, value: Value) -> Value:
        """Keys or values for all that queries may see."""
        if value not in self.ringed:
            return self.at_keys(value, whole=True)
        return self.rings.held(self.cached[value], self.values[value], self.ringed[value], self.presents)

    def cross_attention(self, op: Op) -> None:
        """The context's keys and values are there already, for every step."""
        operands = [None if v is None else self._operand(op, v) for v in op.operands]
        keys = op.required("k").type.shape[2]
        names = [o.name for o in op.definition.operands]
        operands[names.index("positions")] = self.rows.positions
        operands[names.index("key_length")] = self.context_length if SOURCE_SEQUENCE in keys.symbols else None
        self.values[op.result] = self.build(ops.attention, *operands, **op.attributes)
        self.outcome.hit("cross", op)

    def recurrence(self, op: Op) -> None:
        name = f"{self.layers}.{STATE}"
        past = self.graph.add_input(PAST + name, op.results[-1].type)
        operands: list[Value | None] = []
        for operand, value in zip(op.definition.operands, op.operands, strict=True):
            if operand.name in (STATE, NEW_LENGTH):
                if value is not None:
                    raise refuse(op, f"it has a {operand.name} already: the graph seems to have been continued before")
                operands.append(past if operand.name == STATE else self.new)
            else:
                operands.append(None if value is None else self._operand(op, value))
        new = self.graph.insert(op.definition, operands, op.attributes, location=op.location)
        self.values.update(zip(op.results, new.results, strict=True))
        self.presents[PRESENT + name] = new.results[-1]
        self.layers += 1
        self.outcome.hit("state", op)

    def token_wise(self, op: Op) -> None:
        """Copies an op over the tokens' data for the new tokens."""
        operands = [None if v is None else self._operand(op, v) for v in op.operands]
        new = self.graph.insert(op.definition, operands, op.attributes, location=op.location)
        for old, value in zip(op.results, new.results, strict=True):
            if value.type != old.type:
                raise refuse(op, f"it gives {value.type} at each row's own positions, {old.type} before")
            self.values[old] = value

    def _operand(self, op: Op, value: Value) -> Value:
        if not self.is_positional(value):
            return self.values[value]
        if not has_symbol(value, SEQUENCE):
            return self.rows.constant(value)
        return self.rows.operand(op, value, op.results[0].type)

    # -- keys

    def at_keys(self, value: Value, whole: bool = False) -> Value:
        """A value for all places of the caches; the cache itself, if it is cached and `whole` allows it."""
        if value in self.cached:
            cache = self._appended(value)
            if whole and cache.type.shape == over_keys(value.type.shape):
                return cache
        if value not in self.over_keys:
            self.over_keys[value] = self._from_cache(value) if value in self.cached else self._again(value)
        return self.over_keys[value]

    def _appended(self, value: Value) -> Value:
        """The cache of a value with the new tokens in it."""
        name = self.cached[value]
        if (present := self.presents.get(PRESENT + name)) is not None:
            return present
        batch, *rest = value.type.shape
        axis = self.axes[value].axis - 1
        heads, sequence, size = product(rest[:axis]), rest[axis], product(rest[axis + 1 :])
        type = StateType("contiguous", TensorType(value.tensor.dtype, (batch, heads, C, size)))
        past = self.graph.add_input(PAST + name, type)
        new = self.values[value]
        if new.type.shape != (batch, heads, sequence, size):
            new = self.build(ops.reshape, new, shape=(batch, heads, sequence, size))
        present = self.build(ops.kv_append, past, new, self.past)
        self.presents[PRESENT + name] = present
        return present

    def _from_cache(self, value: Value) -> Value:
        read = self.build(ops.kv_read, self._appended(value))
        shape = over_keys(value.type.shape)
        return read if read.type.shape == shape else self.build(ops.reshape, read, shape=shape)

    def _again(self, value: Value) -> Value:
        """A value computed for all places of the caches by the op that computes it for the new tokens."""
        op = value.owner
        assert op is not None, "only cheap ops stand behind a cut"
        operands: list[Value | None] = []
        for operand in op.operands:
            if operand is None:
                operands.append(None)
            elif not self.is_free(operand):
                operands.append(self.at_keys(operand))
            elif not self.is_positional(operand):
                operands.append(self.values[operand])
            elif has_symbol(operand, SEQUENCE):
                operands.append(self.rows.operand_over_keys(op, operand))
            else:
                operands.append(self.rows.constant(operand))
        attributes = {k: substitute(v, {SEQUENCE: C}) for k, v in op.attributes.items()}
        new = self.graph.insert(op.definition, operands, attributes, location=op.location)
        self.over_keys.update(zip(op.results, new.results, strict=True))
        return self.over_keys[value]


def _dims(*dims: str | int) -> tuple[Dim, ...]:
    return tuple(Dim.of(d) for d in dims)
