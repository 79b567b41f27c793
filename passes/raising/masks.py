"""Masks, recognized by what they hide: a mask is evaluated and compared with the known ones, however it was spelt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphwright.ir import Dim, Graph, Interpreter, Program, Value, ops
from graphwright.ir.convention import BATCH, SEQUENCE, context_window
from graphwright.ir.interpreter import cone
from graphwright.ir.lazy import torch
from graphwright.ir.ops.attention import Mask, visible
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import GraphPass, register
from graphwright.passes.raising.probing import HIDDEN, integers, positional_values, tables

if TYPE_CHECKING:
    from torch import Tensor

LONGEST = 1 << 13
"""Longest sequence at which a mask is evaluated; a mask that needs more to show its shape is left as it is."""
OTHER_LENGTH = 7
"""Of sequences that the scores' queries are not made of."""


@register
@dataclass(frozen=True)
class RaiseMasks(GraphPass):
    """A mask that is a function of positions becomes the attribute `causal`, `sliding`, `chunked` or `full`.

    What a bias adds to the scores that it does not hide stays a bias, without the terms that only hide.
    """

    name: ClassVar[str] = "raise-masks"
    findings: ClassVar[tuple[str, ...]] = (
        *("mask-full", "mask-causal", "mask-sliding", "mask-chunked", "mask-prefix"),
        "raise-masks",
    )

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
    answers: dict[tuple[Value, Dim, Dim], _Meaning | str] = {}
    for op in graph:
        if op.definition is not ops.attention or op.attributes["mask"] != "full":
            continue
        bias = op.operand("bias")
        if bias is None:
            continue
        scores = op.required("q").type.shape[2], op.required("k").type.shape[2]

        def meaning(bias: Value, scores: tuple[Dim, Dim] = scores) -> _Meaning | str:
            if (bias, *scores) not in answers:
                probe = _Probe(program, graph, *scores)
                answers[bias, *scores] = probe.identify(bias) if positional(bias) else FROM_DATA
            return answers[bias, *scores]

        answer = meaning(bias)
        if isinstance(answer, str):
            outcome.miss("raise-masks", op, 2, answer)
            continue
        rest = _without_mask(bias, answer, meaning) if answer.adds else None
        if answer.mask == "full" and rest is bias:
            continue
        operands = [op.operand(n) for n in ("q", "k", "v", "positions", "key_length")]
        attributes = {**op.attributes, "mask": answer.mask, "window": answer.window}
        new = graph.insert(
            ops.attention, [*operands, rest, op.operand("sinks")], attributes, before=op, location=op.location
        )
        graph.replace(op.result, new.result)
        graph.erase(op)
        outcome.hit(f"mask-{answer.mask}", op)
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
        hides, adds = meaning(hiding), meaning(adding)
        if isinstance(hides, str) or isinstance(adds, str) or hides.adds:
            continue
        if (hides.mask, hides.window) == (whole.mask, whole.window) and (
            adds.mask == "full" or adds.mask == whole.mask
        ):
            return _without_mask(adding, whole, meaning)
    return bias


FROM_DATA = "the mask depends on data, not on positions alone"


@dataclass(frozen=True)
class _Probe:
    """Evaluates biases on the scores of `queries` by `keys` tokens."""

    program: Program
    graph: Graph
    queries: Dim
    keys: Dim

    def identify(self, bias: Value) -> _Meaning | str:
        """What a bias stands for, or why that cannot be told."""
        length = self._length(bias)
        if length > LONGEST:
            return f"the mask needs {length} tokens to show its shape, more than {LONGEST}"
        found = self._at_length(bias, length)
        # a mask may be cut to the length by a number that grows with it: at another one it would be another mask
        if isinstance(found, str) or length == 1:
            return found
        shorter = self._at_length(bias, max(1, length - 5))
        if isinstance(shorter, _Meaning) and self._agree(found, shorter, max(1, length - 5)):
            return found
        return "the mask depends on the length of the sequence"

    def _at_length(self, bias: Value, length: int) -> _Meaning | str:
        allowed, adds = self._evaluate(bias, length)
        if allowed is None:
            return "the mask differs between rows or heads"
        queries, keys = allowed.shape
        if self.queries is not self.keys:
            return _Meaning("full", 0, adds) if bool(allowed.all()) else "it hides keys of another sequence"
        positions = torch.arange(queries)[None]
        for mask, window in _candidates(allowed):
            if torch.equal(visible(positions, keys, mask, window)[0, 0], allowed):
                return _Meaning(mask, window, adds)
        return f"the mask is none of full, causal, sliding, chunked or prefix at length {queries}"

    @staticmethod
    def _agree(longer: _Meaning, shorter: _Meaning, length: int) -> bool:
        """Whether the mask found at the greater length is also what was found at the smaller one."""
        if shorter.adds and not longer.adds:
            return False
        positions = torch.arange(length)[None]
        one, other = (visible(positions, length, m.mask, m.window) for m in (longer, shorter))
        return torch.equal(one.expand(1, 1, length, length), other.expand(1, 1, length, length))

    def _length(self, bias: Value) -> int:
        """A length past every integer in the mask's computation, and within the model's context."""
        ops_of_mask = cone([bias])
        largest = max((n for op in ops_of_mask for n in integers(op)), default=0)
        context = context_window(self.program)
        return min([largest + 13, *tables(ops_of_mask), *([] if context is None else [context])])

    def _evaluate(self, bias: Value, length: int) -> tuple[Tensor | None, bool]:
        """Which keys each query sees, bool [queries, keys], None if not the same for all; whether scores change."""
        bindings = dict.fromkeys(self.graph.symbols, OTHER_LENGTH) | {SEQUENCE: length, BATCH: 2}
        value = Interpreter("float64").run_cone({}, [bias], bindings)[0]
        allowed = value if value.dtype is torch.bool else value > HIDDEN
        adds = value.dtype is not torch.bool and bool((value[allowed] != 0).any())
        allowed = allowed.reshape(*(1,) * (4 - allowed.dim()), *allowed.shape)
        queries, keys = (d.evaluate(bindings) for d in (self.queries, self.keys))
        allowed = allowed.expand(*allowed.shape[:2], queries, keys)
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
