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

from graphwright.ir import Builder, Dim, DType, Graph, Op, Program, StateType, TensorType, Value, ops
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import Pass, has_forward, has_prefill, register
from graphwright.passes.probing import BATCH, SEQUENCE, has_symbol, positional_values
from graphwright.passes.row_positions import RowPositions, refuse

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


class _Rebuild:
    """Builds the prefill graph of a forward graph."""

    def __init__(self, forward: Graph) -> None:
        self.forward = forward
        self.graph = Graph("prefill")
        self.build = Builder(self.graph)
        self.is_positional: Callable[[Value], bool] = positional_values(forward)
        self.values: dict[Value, Value] = {}
        self.caches: list[tuple[str, Value]] = []
        self.hits: Counter[str] = Counter()
        tokens = [v for v in forward.inputs if v.name == TOKENS]
        if len(forward.inputs) != 1 or not tokens or tokens[0].type != TensorType(DType.I64, _dims(BATCH, SEQUENCE)):
            listed = ", ".join(f"{v.name}: {v.type}" for v in forward.inputs)
            raise refuse(None, f"the graph must have the one input {TOKENS}: i64[B, S]; it has {listed}")
        self.values[tokens[0]] = self.graph.add_input(TOKENS, tokens[0].type)
        self.past = self.graph.add_input("past_length", TensorType(DType.I64, _dims(BATCH)))
        self.new = self.graph.add_input("new_length", TensorType(DType.I64, _dims(BATCH)))
        self.key_length = self.build(ops.add, self.past, self.new)
        self.rows = RowPositions(self.build, self.is_positional, self.past, self.key_length)

    def run(self) -> Graph:
        logits = self.forward.outputs.get("logits")
        if logits is None or len(self.forward.outputs) != 1:
            raise refuse(None, f"the graph must return logits alone; it returns {', '.join(self.forward.outputs)}")
        if logits.type.shape[:2] != _dims(BATCH, SEQUENCE):
            raise refuse(None, f"logits must be [B, S, vocabulary]; they are {logits.type}")
        for op in self.forward:
            mask = op.attributes["mask"] if op.definition is ops.attention else "causal"
            if mask not in CAUSAL_MASKS:
                raise refuse(
                    op, f"its mask is '{mask}': tokens see later ones, so there is no causal model to continue"
                )
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
        if op.operand("bias") is not None:
            raise refuse(op, "it has a bias that is no known mask; a bias over past keys cannot be rebuilt yet")
        if op.operand("key_length") is not None:
            raise refuse(op, "it limits its keys already: the graph seems to have a cache")
        if not self.rows.are_own_positions(op.required("positions")):
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
            self.rows.positions,
            self.key_length,
            None,
            None if sinks is None else self.rows.constant(sinks),
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
            elif not has_symbol(value, SEQUENCE):
                operands.append(self.rows.constant(value))
            else:
                operands.append(self.rows.operand(op, value, result))
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


def _dims(*dims: str | int) -> tuple[Dim, ...]:
    return tuple(Dim.of(d) for d in dims)
