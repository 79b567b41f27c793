"""Splitting and merging of attention heads, out of reshapes and transposes."""

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Builder, Dim, Value, ops
from graphwright.ir.rewriting import Match, Refusal, Rule, rule
from graphwright.passes.base import RulePass, register


@rule(lambda x: ops.transpose(ops.reshape(x), permutation=(0, 2, 1, 3)))
def raise_split_heads(match: Match, build: Builder) -> Value | Refusal:
    x, result = match["x"].tensor, match.root.result.tensor
    batch, heads, sequence, _ = result.shape
    if x.rank != 3 or x.shape[:2] != (batch, sequence) or heads.constant is None:
        return Refusal(f"{x} is not [batch, sequence, heads * size]")
    return build(ops.split_heads, match["x"], heads=heads.constant)


@rule(lambda x: ops.reshape(ops.transpose(x, permutation=(0, 2, 1, 3))))
def raise_merge_heads(match: Match, build: Builder) -> Value | Refusal:
    batch, heads, sequence, size = match["x"].tensor.shape
    result = match.root.result.tensor
    if result.shape != (batch, sequence, heads * size):
        return Refusal(f"{result} is not [batch, sequence, heads * size]")
    return build(ops.merge_heads, match["x"])


@rule(lambda x: ops.reshape(x))
def raise_one_head(match: Match, build: Builder) -> Value | Refusal:
    """A head axis of length 1, put in or taken out, is a split into one head or a merge of one."""
    x, result = match["x"].tensor, match.root.result.tensor
    if x.rank == 3 and result.shape == (x.shape[0], Dim.of(1), *x.shape[1:]):
        return build(ops.split_heads, match["x"], heads=1)
    if x.rank == 4 and x.shape[1].constant == 1 and result.shape == (x.shape[0], *x.shape[2:]):
        return build(ops.merge_heads, match["x"])
    return Refusal("it is not a head axis")


@register
@dataclass(frozen=True)
class RaiseHeads(RulePass):
    """reshape and transpose of projections become `split_heads` and `merge_heads`."""

    name: ClassVar[str] = "raise-heads"
    rules: ClassVar[tuple[Rule, ...]] = (raise_split_heads, raise_merge_heads, raise_one_head)
