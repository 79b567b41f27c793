"""Masks, recognized by what they hide: a mask is evaluated and compared with the known ones, however it was spelt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphwright.ir import Graph, Interpreter, Program, Value, ops
from graphwright.ir.interpreter import cone
from graphwright.ir.lazy import torch
from graphwright.ir.ops.attention import Mask, visible
from graphwright.ir.rewriting import NearMiss, Outcome
from graphwright.passes.base import GraphPass, register
from graphwright.passes.probing import BATCH, HIDDEN, SEQUENCE, has_symbol, integers, positional_values, tables

if TYPE_CHECKING:
    from torch import Tensor

LONGEST = 1 << 13
"""Longest sequence at which a mask is evaluated; a mask that needs more to show its shape is left as it is."""


@register
@dataclass(frozen=True)
class RaiseMasks(GraphPass):
    """A mask that is a function of positions becomes the attribute `causal`, `sliding`, `chunked` or `full`.

    What a bias adds to the scores that it does not hide stays a bias, without the terms that only hide.
    """

    name: ClassVar[str] = "raise-masks"

    def run_graph(self, program: Program, graph: Graph) -> Outcome:
        return _raise_in_graph(program, graph)


@dataclass(frozen=True)
class _Meaning:
    """What a bias does: which keys it hides, and whether it adds to the others' scores."""

    mask: Mask
    window: int
    adds: bool


def _raise_in_graph(program: Program, graph: Graph) -> Outcome:
    outcome = Outcome()
    positional = positional_values(graph)
    answers: dict[Value, _Meaning | str] = {}

    def meaning(bias: Value) -> _Meaning | str:
        if bias not in answers:
            answers[bias] = _identify(program, bias, positional(bias))
        return answers[bias]

    for op in graph:
        if op.definition is not ops.attention or op.attributes["mask"] != "full":
            continue
        bias = op.operand("bias")
        if bias is None:
            continue
        answer = meaning(bias)
        if isinstance(answer, str):
            outcome.near_misses.append(NearMiss("raise-masks", op.location, 2, answer))
            continue
        if answer.mask == "full" and answer.adds:
            continue
        operands = [op.operand(n) for n in ("q", "k", "v", "positions", "key_length")]
        rest = _without_mask(bias, answer, meaning) if answer.adds else None
        attributes = {**op.attributes, "mask": answer.mask, "window": answer.window}
        new = graph.insert(
            ops.attention, [*operands, rest, op.operand("sinks")], attributes, before=op, location=op.location
        )
        graph.replace(op.result, new.result)
        graph.erase(op)
        outcome.hits[f"mask-{answer.mask}"] += 1
    return outcome


def _without_mask(bias: Value, whole: _Meaning, meaning: Callable[[Value], _Meaning | str]) -> Value:
    """The bias without terms that hide keys and do nothing else, if what is left is as good under the same mask."""
    owner = bias.owner
    if owner is None or owner.definition not in (ops.add, ops.where):
        return bias
    if owner.definition is ops.add:
        pairs = [(owner.inputs[0], owner.inputs[1]), (owner.inputs[1], owner.inputs[0])]
    else:
        pairs = [(owner.inputs[0], owner.inputs[1])]
    for hiding, adding in pairs:
        if adding.type.rank < 2 or not has_symbol(adding, SEQUENCE):
            continue
        hides, adds = meaning(hiding), meaning(adding)
        if isinstance(hides, str) or isinstance(adds, str) or hides.adds or hides.mask == "full":
            continue
        if (hides.mask, hides.window) == (whole.mask, whole.window) and (
            adds.mask == "full" or adds.mask == whole.mask
        ):
            return _without_mask(adding, whole, meaning)
    return bias


def _identify(program: Program, bias: Value, is_positional: bool) -> _Meaning | str:
    """What a bias stands for, or why that cannot be told."""
    if not is_positional:
        return "the mask depends on data, not on positions alone"
    if bias.type.rank < 2 or not has_symbol(bias, SEQUENCE):
        return f"the mask {bias.type} does not cover queries and keys"
    length = _length(program, bias)
    if length > LONGEST:
        return f"the mask needs {length} tokens to show its shape, more than {LONGEST}"
    allowed, adds = _evaluate(bias, length)
    if allowed is None:
        return "the mask differs between rows or heads"
    positions = torch.arange(length)[None]
    for mask, window in _candidates(allowed):
        if torch.equal(visible(positions, length, mask, window)[0, 0], allowed):
            return _Meaning(mask, window, adds)
    return f"the mask is none of full, causal, sliding, chunked or prefix at length {length}"


def _length(program: Program, bias: Value) -> int:
    """A length past every integer in the mask's computation, and within the model's context."""
    ops_of_mask = cone([bias])
    largest = max((n for op in ops_of_mask for n in integers(op)), default=0)
    context = program.metadata.get("context_length")
    return min([largest + 13, *tables(ops_of_mask), *([context] if isinstance(context, int) else [])])


def _evaluate(bias: Value, length: int) -> tuple[Tensor | None, bool]:
    """Which keys each query sees, bool [length, length], None if not the same for all; whether scores are changed."""
    value = Interpreter("float64").run_cone({}, [bias], {SEQUENCE: length, BATCH: 2})[0]
    allowed = value if value.dtype is torch.bool else value > HIDDEN
    adds = value.dtype is not torch.bool and bool((value[allowed] != 0).any())
    allowed = allowed.expand(*(1,) * (4 - allowed.dim()), *allowed.shape[:-2], length, length)
    first = allowed[0, 0]
    return (first if bool((allowed == first).all()) else None), adds


def _candidates(allowed: Tensor) -> list[tuple[Mask, int]]:
    """Masks worth comparing with, the simplest first; windows are read off the last and the first row."""
    last, first = int(allowed[-1].sum()), int(allowed[0].sum())
    found: list[tuple[Mask, int]] = [("full", 0), ("causal", 0), ("sliding", last)]
    length = allowed.shape[0]
    chunk = next((q for q in range(1, length) if not bool(allowed[q, q - 1])), 0)
    if chunk:
        found.append(("chunked", chunk))
    if first > 1:
        found.append(("prefix", first))
    return found
