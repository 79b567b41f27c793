"""Absorption: attention over the latent that keys and values are made from, instead of over keys and values.

Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1.2) makes keys and values of every head from one
small latent c: k_h = W_h c, v_h = U_h c. Since q·(W_h c) = (W_hᵀ q)·c and Σ p U_h c = U_h Σ p c, the products can be
done on the query and the result, once a step, and the cache holds the latent alone. Parts of the keys that all heads
share (rotary ones) stand beside it.
"""

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Dim, Graph, Op, Program, Value, ops
from graphwright.ir.ops.rules import ONE
from graphwright.ir.ops.shape import slice_bounds
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import GraphPass, register

RULE = "absorb-projections"


@register
@dataclass(frozen=True)
class AbsorbProjections(GraphPass):
    """softmax(q (W c)ᵀ) (U c) becomes (softmax((Wᵀ q) cᵀ) c) Uᵀ, where reading less outweighs computing more.

    A token of the cache is read once a step and costs bytes; each head's score and sum over it cost products. The
    rewrite is done where the bytes shrink by a larger factor than the products grow.
    """

    name: ClassVar[str] = RULE
    findings: ClassVar[tuple[str, ...]] = ("absorb", RULE)

    def run_graph(self, program: Program, graph: Graph) -> Outcome:
        outcome = Outcome()
        for op in graph:
            if op.definition is not ops.attention:
                continue
            problem = _absorb(graph, op)
            if problem is None:
                outcome.hit("absorb", op)
            elif problem:
                outcome.miss(RULE, op, 2, problem)
        return outcome


@dataclass(frozen=True)
class _Projected:
    """Heads [batch, heads, tokens, size] made from a latent [batch, tokens, rank] by weights [heads, size, rank]."""

    latent: Value
    weight: Value
    heads: int
    start: int
    stop: int
    """Which of each head's rows of the weight."""

    def matrix(self, build: Builder) -> Value:
        """The weight, [heads, size, rank]."""
        rows, rank = self.weight.type.shape
        size = rows.exact_div(self.heads)
        whole = build(ops.reshape, self.weight, shape=(Dim.of(self.heads), size, rank))
        return build(ops.slice, whole, axis=1, start=Dim.of(self.start), stop=Dim.of(self.stop))


@dataclass(frozen=True)
class _Shared:
    """A part of the keys that is the same for all heads, [batch, 1, tokens, size]."""

    value: Value


_Part = _Projected | _Shared


def _absorb(graph: Graph, op: Op) -> str | None:
    """None if absorbed; else why not, in words where it came near."""
    q, k, v = (op.required(n) for n in ("q", "k", "v"))
    heads = q.type.shape[1]
    values = _projected(v)
    if values is None or heads.constant is None or k.type.shape[1] is not heads or v.type.shape[1] is not heads:
        return ""
    parts = [_part(p) for p in _parts(k)]
    known = [p for p in parts if p is not None]
    if len(known) != len(parts) or not any(isinstance(p, _Projected) for p in known):
        return "keys are not made of a latent and parts that all heads share"
    before = heads.constant * (_size(k) + _size(v))
    latents = dict.fromkeys([values.latent, *(p.latent for p in known if isinstance(p, _Projected))])
    shared = sum(_size(p.value) for p in known if isinstance(p, _Shared))
    after = sum(_size(latent) for latent in latents) + shared
    keys = sum(_size(p.latent if isinstance(p, _Projected) else p.value) for p in known)
    products = (keys + _size(values.latent)) / (_size(k) + _size(v))
    if before <= after * products:
        return f"{before} values a token would become {after}, and products {products:.1f} times as many"
    build = Builder(graph, op, op.location)
    operands = [
        _joined(build, _queries(build, q, k, known)),
        _joined(build, [_one_head(build, p.latent) if isinstance(p, _Projected) else p.value for p in known]),
        _one_head(build, values.latent),
        *op.operands[3:],
    ]
    mixed = build(ops.attention, *operands, **op.attributes)
    up = build(ops.transpose, values.matrix(build), permutation=(0, 2, 1))
    graph.replace(op.result, build(ops.matmul, mixed, up))
    graph.erase_dead([op])
    return None


def _queries(build: Builder, q: Value, k: Value, parts: list[_Part]) -> list[Value]:
    """What of the queries meets each part of the keys, in the terms of that part."""
    found: list[Value] = []
    start = 0
    for source, part in zip(_parts(k), parts, strict=True):
        stop = start + _size(source)
        piece = build(ops.slice, q, axis=3, start=Dim.of(start), stop=Dim.of(stop))
        found.append(build(ops.matmul, piece, part.matrix(build)) if isinstance(part, _Projected) else piece)
        start = stop
    return found


def _joined(build: Builder, parts: list[Value]) -> Value:
    return parts[0] if len(parts) == 1 else build(ops.concat, *parts, axis=3)


def _one_head(build: Builder, latent: Value) -> Value:
    batch, tokens, rank = latent.type.shape
    return build(ops.reshape, latent, shape=(batch, ONE, tokens, rank))


def _parts(k: Value) -> list[Value]:
    concat = k.defined_by(ops.concat)
    return list(concat.inputs) if concat is not None and concat.attributes["axis"] in (3, -1) else [k]


def _part(value: Value) -> _Part | None:
    expand = value.defined_by(ops.expand)
    if expand is not None:
        shape, wide = expand.inputs[0].type.shape, value.type.shape
        one = len(shape) == 4 and shape[1] is ONE and (shape[0], *shape[2:]) == (wide[0], *wide[2:])
        return _Shared(expand.inputs[0]) if one else None
    return _projected(value)


def _projected(value: Value) -> _Projected | None:
    """Heads, or a slice of each, straight out of a projection without bias."""
    split, start, stop = value.defined_by(ops.split_heads), 0, _size(value)
    cut = value.defined_by(ops.slice)
    if cut is not None:
        split = cut.inputs[0].defined_by(ops.split_heads)
        if cut.attribute("axis", int) not in (3, -1) or cut.attribute("step", int) != 1:
            return None
        bounds = cut.attribute("start", Dim), cut.attribute("stop", Dim)
        first, last = (d.constant for d in slice_bounds(cut.inputs[0].type.shape[3], *bounds))
        if first is None or last is None:
            return None
        start, stop = first, last
    linear = split.required("x").defined_by(ops.linear) if split is not None else None
    if split is None or linear is None or linear.operand("bias") is not None:
        return None
    heads = split.attribute("heads", int)
    return _Projected(linear.required("x"), linear.required("weight"), heads, start, stop)


def _size(value: Value) -> int:
    size = value.type.shape[-1].constant
    assert size is not None, "the features of keys and values are counted"
    return size
