"""Near misses to report: a failed match is none where another rule matched in the end."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from graphwright.ir import Op
from graphwright.ir.rewriting import NearMiss, Outcome

CLOSEST = 16
"""How many near misses of each rule a pass reports."""


def unresolved_near_misses(outcomes: Sequence[Outcome]) -> list[tuple[NearMiss, ...]]:
    """Of each pass in order, the near misses at places where nothing was recognized, by it or a later pass.

    Each rule's closest ones only. They no longer hold their ops, nor therefore a graph.
    """
    replaced: set[Op] = set()
    taken: set[Op] = set()
    found: list[tuple[NearMiss, ...]] = []
    for outcome in reversed(outcomes):
        replaced |= outcome.replaced
        taken |= outcome.taken
        open_ones = [miss for miss in outcome.near_misses if not _settled(miss.op, replaced, taken)]
        found.append(tuple(_closest(dict.fromkeys(replace(miss, op=None) for miss in open_ones))))
    return found[::-1]


def _settled(op: Op | None, replaced: set[Op], taken: set[Op]) -> bool:
    """Whether the op, or what it was respelt as, became part of something that was recognized, or is gone."""
    while op is not None and op.erased:
        successor = op.results[0].successor
        new = successor.owner if successor is not None else None
        if new is None:
            return True
        # an op that gives way to one of its own kind (attention to attention with a mask) may still be missed by others
        if op in replaced and new.definition is not op.definition:
            return True
        op = new
    return op in taken


def _closest(misses: Iterable[NearMiss]) -> list[NearMiss]:
    """Of each rule the attempts that came furthest."""
    best: dict[str, list[NearMiss]] = {}
    for miss in misses:
        best.setdefault(miss.rule, []).append(miss)
    return [m for group in best.values() for m in sorted(group, key=lambda m: -m.matched)[:CLOSEST]]
