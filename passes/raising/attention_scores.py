"""Attention scores, read from the softmax back to the product of queries and keys.

Between the two stand scaling, a soft cap, biases, masks added or chosen, casts, each optional, some more than once and
in any order that has the same meaning. What is read is put together again as one scale, one cap and one bias.
"""

import math
from dataclasses import dataclass, field

from graphwright.ir import Builder, Value, ops
from graphwright.ir.rewriting import Refusal, number
from graphwright.passes.raising.probing import HIDDEN, leaves_a_key

STILL_HIDDEN = HIDDEN / 12
"""What a mask of `HIDDEN` may become when it is divided by the root of the head's size, up to 128 elements: exp of that
is 0 in every float type too."""


@dataclass
class Scores:
    """softcap(product * scale) + bias, a bool bias hiding where it is false; 0 stands for no cap.

    `hidden` is the greatest number that a bool bias stands for where it hides. `kept` is false where scores
    are `replaced` by numbers. A query of which no score is kept sees what the bias says alone, as if its scores were
    0; `may_be_blind` says that there may be one, and that a finite number hides its keys.
    """

    product: Value
    scale: float = 1.0
    softcap: float = 0.0
    bias: Value | None = None
    kept: Value | None = None
    replaced: set[float] = field(default_factory=set[float])
    may_be_blind: bool = False
    hidden: float = float("-inf")


def read_scores(scores: Value, build: Builder) -> Scores | Refusal:
    """What the scores of a softmax are made of; `build` makes the bias."""
    steps: list[Value] = []
    value = scores
    while value.defined_by(ops.matmul) is None:
        inner = _inner(value)
        if inner is None:
            found = value.owner.name if value.owner is not None else "an input"
            where = f" at {value.owner.location}" if value.owner is not None and value.owner.location else ""
            return Refusal(f"expected scores made of a matmul, found {found}{where}")
        steps.append(value)
        value = inner
    result = Scores(value)
    for step in reversed(steps):
        problem = _apply(result, step, value, build)
        if problem is not None:
            return problem
        value = step
    return result


def _inner(value: Value) -> Value | None:
    """The operand of one step that the product lies behind."""
    op = value.owner
    if op is None or op.definition not in (ops.cast, ops.softcap, ops.add, ops.mul, ops.div, ops.where):
        return None
    if op.definition in (ops.cast, ops.softcap, ops.div):
        candidates = [op.inputs[0]]
    elif op.definition is ops.where:
        candidates = op.inputs[1:]
    else:
        candidates = op.inputs
    return next((v for v in candidates if v.type.shape == value.type.shape and _leads_to_product(v)), None)


def _leads_to_product(value: Value) -> bool:
    return value.defined_by(ops.matmul) is not None or _inner(value) is not None


def _apply(scores: Scores, step: Value, inner: Value, build: Builder) -> Refusal | None:
    op = step.owner
    assert op is not None
    if op.definition is ops.cast:
        dtype = step.tensor.dtype
        narrows = dtype.bits < op.inputs[0].tensor.dtype.bits
        return Refusal(f"the scores are cast to {dtype}") if narrows or not dtype.is_float else None
    if op.definition is ops.softcap:
        if scores.bias is not None or scores.softcap:
            return Refusal("the scores are capped after a bias or another cap")
        cap = op.attribute("cap", float)
        scores.softcap = cap
        return None
    others = [v for v in op.inputs if v is not inner]
    if op.definition in (ops.mul, ops.div):
        return _scale(scores, number(others[0]) if others else None, op.definition is ops.div, build)
    if op.definition is ops.where:
        return _hide(scores, others[0], others[1], keep=op.inputs[1] is inner, build=build)
    if not others:
        return Refusal("the scores are added to themselves")
    scores.bias = others[0] if scores.bias is None else build(ops.add, _floats(scores, others[0], build), others[0])
    return None


def _scale(scores: Scores, factor: float | None, divide: bool, build: Builder) -> Refusal | None:
    if factor is None:
        return Refusal(f"the scores' {'divisor' if divide else 'factor'} is not a constant")
    if scores.softcap:
        return Refusal("the scores are scaled after they are capped")
    factor = 1 / factor if divide else factor
    if factor <= 0:
        return Refusal(f"the scores are scaled by {factor}")
    scores.scale *= factor
    if scores.bias is not None:
        if not scores.bias.tensor.dtype.is_float:
            scores.hidden *= factor
            if scores.hidden > STILL_HIDDEN:
                return Refusal(f"masked scores become {scores.hidden} when they are scaled, which does not hide them")
            return None
        scores.bias = build(ops.mul, scores.bias, factor)
    return None


def _hide(scores: Scores, condition: Value, low: Value, *, keep: bool, build: Builder) -> Refusal | None:
    """Scores become low where the condition does not keep, or drops, them."""
    filled = number(low)
    if filled is None or filled > HIDDEN:
        return Refusal(f"masked scores become {filled}, which does not hide them")
    kept = condition if keep else build(ops.logical_not, condition)
    before, scores.hidden = scores.hidden, max(scores.hidden, float(filled))
    scores.kept = kept if scores.kept is None else build(ops.logical_and, scores.kept, kept)
    bias, others = scores.bias, scores.replaced
    scores.replaced = {*others, float(filled)}
    if math.isfinite(scores.hidden) and not leaves_a_key(scores.kept):
        scores.may_be_blind = True
    if not scores.may_be_blind and (bias is None or not bias.tensor.dtype.is_float):
        scores.bias = kept if bias is None else build(ops.logical_and, bias, kept)
        return None
    if bias is None:
        bias = build.constant(0.0, scores.product.tensor.dtype)
    elif not bias.tensor.dtype.is_float:
        if len(others) > 1:
            return Refusal("scores are hidden by several numbers, and a query may see no key")
        zero, low_before = (build.constant(n, scores.product.tensor.dtype) for n in (0.0, before))
        bias = build(ops.where, bias, zero, low_before)
    hidden = build.constant(float(filled), bias.tensor.dtype)
    scores.bias = build(ops.where, kept, bias, hidden)
    return None


def _floats(scores: Scores, like: Value, build: Builder) -> Value:
    """The bias as something to add."""
    bias = scores.bias
    assert bias is not None
    dtype = like.tensor.dtype
    if bias.tensor.dtype.is_float:
        return bias if bias.tensor.dtype is dtype else build(ops.cast, bias, dtype=dtype)
    zero, hidden = build.constant(0.0, dtype), build.constant(scores.hidden, dtype)
    return build(ops.where, bias, zero, hidden)
