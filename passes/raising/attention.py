"""Attention, out of softmax between two products, and grouped queries without their repeated keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Dim, DType, Value, ops
from graphwright.ir.convention import BATCH
from graphwright.ir.rewriting import LAST, Capture, Match, Pattern, Refusal, Rule, attribute, cast_or_not, rule
from graphwright.passes.base import RulePass, register
from graphwright.passes.raising.attention_scores import read_scores


@rule(lambda x: ops.softmax(x - ops.amax(x), axis=LAST))
def softmax_without_shift(match: Match, build: Builder) -> Value | Refusal:
    """A softmax subtracts the largest score itself; done before, it changes nothing."""
    x, largest = match["x"], match.root.inputs[0].owner
    top = largest.inputs[1].owner if largest is not None else None
    if top is None or top.attributes["axes"] not in ((x.type.rank - 1,), (-1,)) or not top.attributes["keepdims"]:
        return Refusal("what is subtracted is not the largest score of each query")
    return build(ops.softmax, x, axis=x.type.rank - 1)


def _with_sinks(joined: Pattern, v: Pattern) -> Pattern:
    weights = ops.slice(cast_or_not(ops.softmax(joined, axis=LAST)), axis=LAST, start=0, step=1)
    return ops.matmul(cast_or_not(weights), v)


@rule(lambda scores, v: ops.matmul(cast_or_not(ops.softmax(scores, axis=LAST)), v), _with_sinks)
def raise_attention(match: Match, build: Builder) -> Value | Refusal:
    sinks: Value | Refusal | None = None
    spelled = match.get("scores")
    if spelled is None:
        joined = match["joined"].defined_by(ops.concat)
        if joined is None or len(joined.inputs) != 2:
            return Refusal("weights are cut, but scores are not joined with sinks")
        spelled, sinks = joined.inputs[0], _sinks(joined.inputs[1], build)
        if isinstance(sinks, Refusal) or spelled.type.shape[-1] is not match["v"].type.shape[-2]:
            return sinks if isinstance(sinks, Refusal) else Refusal("weights are not cut at the sinks")
    scores, v = read_scores(spelled, build), match["v"]
    if isinstance(scores, Refusal):
        return scores
    product = scores.product.owner
    assert product is not None, "read_scores ends at a product"
    q, keys = product.inputs
    if not (q.type.rank == keys.type.rank == v.type.rank and q.type.rank in (3, 4)):
        return Refusal(f"q, k and v must have three or four axes; they are {q.type}, {keys.type}, {v.type}")
    if sinks is not None and q.type.rank != 4:
        return Refusal("attention with sinks must have a head axis")
    bias = scores.bias
    if scores.may_be_blind and scores.kept is not None:
        problem = _requires_rows(scores.kept, q)
        if problem is not None:
            return problem
        q = _without_blind_queries(q, scores.kept, build)
    if bias is not None and bias.tensor.dtype.is_float and bias.tensor.dtype is not q.tensor.dtype:
        bias = build(ops.cast, bias, dtype=q.tensor.dtype)
    # the keys come transposed for the product; canonicalization merges this transpose with the one that made them
    order = tuple(range(keys.type.rank))
    k = build(ops.transpose, keys, permutation=(*order[:-2], order[-1], order[-2]))
    folded = _Folded.of(q) if q.type.rank == 3 else None
    if folded is not None:
        q, k, v = (folded.unfold(build, x) for x in (q, k, v))
        bias = folded.unfold(build, bias) if bias is not None and bias.type.rank == 3 else bias
    elif q.type.rank == 3:
        return Refusal(f"the first axis of {q.type} is not a multiple of the batch")
    sequence = q.type.shape[2]
    positions = build(ops.reshape, build(ops.iota, size=sequence, dtype=DType.I64), shape=(1, sequence))
    attributes = {"scale": scores.scale, "mask": "full", "softcap": scores.softcap}
    result = build(ops.attention, q, k, v, positions, None, bias, sinks, **attributes)
    return result if folded is None else build(ops.reshape, result, shape=match.root.result.tensor.shape)


def _requires_rows(kept: Value, q: Value) -> Refusal | None:
    """Whether it can be told for each query if a score of it is kept."""
    if kept.type.rank == q.type.rank or (kept.type.rank < q.type.rank and kept.type.rank >= 2):
        return None
    return Refusal(f"it cannot be told which queries {kept.type} hides all keys from")


def _without_blind_queries(q: Value, kept: Value, build: Builder) -> Value:
    """Queries of which no score is kept as zeros: all that they see is the bias."""
    last = kept.type.rank - 1
    sees = build(ops.amax, build(ops.cast, kept, dtype=q.tensor.dtype), axes=(last,), keepdims=True)
    zero = build.constant(0.0, q.tensor.dtype)
    return build(ops.where, build(ops.gt, sees, zero), q, zero)


def _sinks(column: Value, build: Builder) -> Value | Refusal:
    """The number of each head [heads] that stands as a column [batch, heads, queries, 1] beside the scores."""
    expand = column.defined_by(ops.expand)
    source = expand.inputs[0] if expand is not None else column
    if column.type.rank != 4 or any(d.constant != 1 for i, d in enumerate(source.type.shape[::-1]) if i != 2):
        return Refusal(f"the sinks {column.type} are not one number a head")
    return build(ops.reshape, source, shape=(column.type.shape[1],))


@dataclass(frozen=True)
class _Folded:
    """Batch and heads in one axis, or no head axis at all: [batch * heads, sequence, size]."""

    batch: Dim
    heads: Dim

    @classmethod
    def of(cls, q: Value) -> _Folded | None:
        heads = q.type.shape[0].exact_div(Dim.of(BATCH))
        return None if heads is None or heads.constant is None else cls(Dim.of(BATCH), heads)

    def unfold(self, build: Builder, value: Value) -> Value:
        """[batch * heads, …] as [batch, heads, …]; one matrix for all gets two axes of 1."""
        first, *rest = value.type.shape
        if first.constant == 1:
            return build(ops.reshape, value, shape=(1, 1, *rest))
        return build(ops.reshape, value, shape=(self.batch, self.heads, *rest))


REST = tuple(Capture(name, optional=name != "positions") for name in ("positions", "key_length", "bias", "sinks"))
"""Attention's operands after q, k and v, whatever they are."""


@rule(
    lambda q, factor, k, v: ops.attention(q * factor, k, v, *REST, scale=attribute("scale")),
    lambda q, factor, k, v: ops.attention(q, k * factor, v, *REST, scale=attribute("scale")),
)
def scale_into_attention(match: Match, build: Builder) -> Value | Refusal:
    """A constant factor on queries or keys is part of the scale."""
    factor, scale = match.number("factor"), match.attributes["scale"]
    q = match["q"]
    if factor is None or not isinstance(scale, float):
        return Refusal("the factor is not a constant")
    rest = [match.get(capture.name) for capture in REST]
    return build(ops.attention, q, match["k"], match["v"], *rest, **{**match.root.attributes, "scale": scale * factor})


def _repeated(x: Pattern) -> Pattern:
    return ops.reshape(ops.expand(ops.reshape(x)))


def _grouped(q: Pattern, k: Pattern, v: Pattern) -> Pattern:
    return ops.attention(q, _repeated(k), _repeated(v), *REST)


@rule(lambda q, k, v: ops.attention(q, ops.expand(k), ops.expand(v), *REST))
def ungroup_one_head(match: Match, build: Builder) -> Value | Refusal:
    """One head of keys and values given to all queries (multi-query attention, Shazeer 2019)."""
    q, k, v = match["q"], match["k"], match["v"]
    for source, name in ((k, "k"), (v, "v")):
        shape, wide = source.type.shape, match.root.required(name).type.shape
        if len(shape) != 4 or shape[1].constant != 1 or (shape[0], *shape[2:]) != (wide[0], *wide[2:]):
            return Refusal(f"{name} is repeated from {source.type}, which is not one head")
    rest = [match.get(capture.name) for capture in REST]
    return build(ops.attention, q, k, v, *rest, **match.root.attributes)


@rule(_grouped)
def ungroup_queries(match: Match, build: Builder) -> Value | Refusal:
    """Keys and values repeated for their group of queries are given once (Ainslie et al. 2023)."""
    q, k, v = match["q"], match["k"], match["v"]
    for name, source in (("k", k), ("v", v)):
        operand = match.root.required(name)
        problem = _repeats_each_head(source, operand)
        if problem is not None:
            return Refusal(f"{name} {problem}")
    if k.type.shape[1] is not v.type.shape[1]:
        return Refusal("k and v are repeated differently")
    rest = [match.get(capture.name) for capture in REST]
    return build(ops.attention, q, k, v, *rest, **match.root.attributes)


def _repeats_each_head(source: Value, repeated: Value) -> str | None:
    """None if head h of `repeated` is head h // group of `source`, else what is wrong."""
    expand = repeated.owner.inputs[0].owner if repeated.owner else None
    assert expand is not None
    before, after = expand.inputs[0].type.shape, expand.result.type.shape
    if source.type.rank != 4:
        return f"is repeated from {source.type}"
    batch, heads, length, size = source.type.shape
    if before != (batch, heads, 1, length, size) or after[:2] != (batch, heads) or after[3:] != (length, size):
        return "is not repeated head by head"
    return None


@register
@dataclass(frozen=True)
class RaiseAttention(RulePass):
    """softmax(q kᵀ · scale + mask) v in its eager spellings becomes `attention`."""

    name: ClassVar[str] = "raise-attention"
    rules: ClassVar[tuple[Rule, ...]] = (softmax_without_shift, raise_attention, scale_into_attention)


@register
@dataclass(frozen=True)
class UngroupQueries(RulePass):
    """Repeated keys and values of grouped-query attention are given once."""

    name: ClassVar[str] = "ungroup-queries"
    rules: ClassVar[tuple[Rule, ...]] = (ungroup_queries, ungroup_one_head)
