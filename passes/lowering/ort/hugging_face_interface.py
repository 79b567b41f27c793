"""Gives a decoder graph the inputs and outputs that Hugging Face's tools expect.

They pass one attention mask over all tokens so far, and pad on either side. The lengths that our graphs work with are
computed from it inside the graph: the last S columns belong to the S new tokens, their ones count the real ones, and
zeros before those are padding on the left. Such rows are rolled to begin with their first real token, so that each
row fills its own cache from position 0 on, and logits are rolled back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import ops
from graphwright.ir.attributes import substitute
from graphwright.ir.builder import Builder
from graphwright.ir.convention import (
    ATTENTION_MASK,
    BATCH,
    CAPACITY,
    INPUT_IDS,
    LOGIT_POSITIONS,
    LOGITS,
    NEW_LENGTH,
    PAST,
    PAST_KEY_VALUES,
    PAST_LENGTH,
    PAST_SEQUENCE,
    POSITIONS,
    PREFILL,
    SEQUENCE,
    TOTAL_SEQUENCE,
    state_names,
)
from graphwright.ir.dialects.ort.operators import as_cache
from graphwright.ir.dims import Dim
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph, Value
from graphwright.ir.program import Program
from graphwright.ir.rewriting import Outcome
from graphwright.ir.types import DType, StateType, TensorType, tensor
from graphwright.passes.base import Pass, has_prefill, register

B, NEW, ALL, P = Dim.of(BATCH), Dim.of(SEQUENCE), Dim.of(TOTAL_SEQUENCE), Dim.of(PAST_SEQUENCE)
ONE = Dim.of(1)


@register
@dataclass(frozen=True)
class HuggingFaceInterface(Pass):
    """Gives a decoder the inputs and outputs of onnxruntime-genai, or, if it is `whole`, those of optimum.

    Optimum gives position ids, which are ignored, wants every logit, and gets caches that grow.
    """

    name: ClassVar[str] = "hugging-face-interface"
    findings: ClassVar[tuple[str, ...]] = ("interface",)
    requires = (has_prefill,)
    whole: bool = False

    def run(self, program: Program) -> Outcome:
        decoder, whole = program.graphs[PREFILL], self.whole
        graph = _interface(decoder, position_ids=whole, every_logit=whole, growing_cache=whole)
        program.graphs = {graph.name: graph}
        outcome = Outcome()
        outcome.count("interface", 1)
        return outcome


def _interface(decoder: Graph, *, position_ids: bool, every_logit: bool, growing_cache: bool) -> Graph:
    """A graph with inputs input_ids i64[B, S], attention_mask i64[B, T] and past_key_values.N.key/value.

    Outputs are logits, [B, S, V] if `every_logit`, else [B, 1, V] of each row's last real token, and
    present.N.key/value. Caches are of fixed capacity and updated in place, or, if `growing_cache`, come as [B, heads,
    P, size] and leave as [B, heads, P+S, size]. `position_ids` i64[B, S] is taken and ignored: the mask says it all.
    """
    graph = Graph("decoder")
    build = Builder(graph, location="interface")
    ids = graph.add_input(INPUT_IDS, tensor(DType.I64, B, NEW))
    mask = graph.add_input(ATTENTION_MASK, tensor(DType.I64, B, ALL))
    if position_ids:
        graph.add_input("position_ids", tensor(DType.I64, B, NEW))
    new_mask = build(ops.slice, mask, axis=1, start=ALL - NEW, stop=ALL)
    new_length = build(ops.sum, new_mask, axes=(1,))
    past_length = build(ops.sub, build(ops.sum, mask, axes=(1,)), new_length)
    untouched = build(ops.eq, build(ops.cumsum, new_mask, axis=1), 0)
    padded = build(ops.sum, build(ops.cast, untouched, dtype=DType.I64), axes=(1,))
    shift = build(ops.reshape, padded, shape=(B, ONE))
    count, length = build(ops.iota, size=NEW, dtype=DType.I64), build(ops.dim_value, value=NEW)
    rolled = build(ops.remainder, build(ops.add, shift, count), length)
    column = build(ops.reshape, ids, shape=(B, NEW, ONE))
    tokens = build(ops.reshape, build(ops.take_tokens, column, rolled), shape=(B, NEW))
    if every_logit:
        wanted = build(ops.remainder, build(ops.sub, count, shift), length)
    else:
        wanted = build(ops.reshape, build(ops.sub, new_length, 1), shape=(B, ONE))
    known = {INPUT_IDS: tokens, PAST_LENGTH: past_length, NEW_LENGTH: new_length, LOGIT_POSITIONS: wanted}
    bindings = {POSITIONS: NEW if every_logit else ONE} | ({CAPACITY: P + NEW} if growing_cache else {})
    for value in decoder.inputs:
        if isinstance(value.type, StateType):
            assert value.name is not None
            known[value.name] = _cache(build, value.name, value.type, growing_cache)
    values = _splice(decoder, graph, known, bindings)
    graph.outputs = {LOGITS: values[decoder.outputs[LOGITS]]}
    for output in state_names(decoder).values():
        graph.outputs[output] = values[decoder.outputs[output]]
    return graph


def _cache(build: Builder, name: str, type: StateType, growing: bool) -> Value:
    if type.layout == "recurrent":
        raise UnsupportedError(f"'{name}' is {type}: these tools' models keep keys and values only, no recurrent state")
    if type.layout == "ring":
        raise UnsupportedError(f"'{name}' is {type}: these tools know no rings; compile it with contiguous caches")
    if not type.dtype.is_float:
        raise UnsupportedError(f"'{name}' is {type}: these tools' caches hold floats; leave quantize-cache out")
    past = PAST_KEY_VALUES + name.removeprefix(PAST)
    if not growing:
        return build.graph.add_input(past, type)
    batch, heads, _, size = type.shape
    before = build.graph.add_input(past, TensorType(type.dtype, (batch, heads, P, size)))
    room = build.constant(0.0, type.dtype, batch, heads, NEW, size)
    return build(as_cache, build(ops.concat, before, room, axis=2))


def _splice(
    source: Graph, target: Graph, known: Mapping[str, Value], bindings: Mapping[str, Dim]
) -> dict[Value, Value]:
    """Copies the ops of a graph behind those of another, its inputs replaced by known values."""
    values = {value: known[str(value.name)] for value in source.inputs}
    for value in source.weights:
        assert value.weight is not None
        values[value] = target.weight(value.weight)
    for op in source:
        attributes = {k: substitute(v, bindings) for k, v in op.attributes.items()}
        operands = [None if v is None else values[v] for v in op.operands]
        new = target.insert(op.definition, operands, attributes, location=op.location)
        values.update(zip(op.results, new.results, strict=True))
    return values
