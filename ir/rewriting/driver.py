"""Applies rules to a graph until none fires, and keeps a record of the closest failures."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from graphwright.ir.builder import Builder
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.program import Program
from graphwright.ir.rewriting.matcher import Match, Matcher
from graphwright.ir.rewriting.pattern import Capture, OpPattern, Pattern


@dataclass(frozen=True)
class Refusal:
    """What a rule's build returns when the pattern fits but something that patterns cannot say does not."""

    reason: str


Build = Callable[[Match, Builder], "Value | Refusal"]


@dataclass(frozen=True)
class Rule:
    """Patterns, tried in order, and what replaces the root. Make one with the decorator `rule`."""

    name: str
    patterns: tuple[OpPattern, ...]
    build: Build


@dataclass(frozen=True)
class NearMiss:
    """A rule that almost fired: where, how many ops had matched, and what stopped it."""

    rule: str
    location: str
    matched: int
    reason: str

    def __str__(self) -> str:
        return f"{self.rule}{' at ' + self.location if self.location else ''}: {self.reason}"


@dataclass
class Outcome:
    """What a rewrite did."""

    hits: Counter[str] = field(default_factory=Counter[str])
    near_misses: list[NearMiss] = field(default_factory=list[NearMiss])

    @property
    def changed(self) -> bool:
        return bool(self.hits)

    def merge(self, other: Outcome) -> None:
        self.hits.update(other.hits)
        self.near_misses.extend(other.near_misses)


def rule(*patterns: Callable[..., Pattern], name: str = "") -> Callable[[Build], Rule]:
    """A rule whose patterns are functions of captures named like their parameters; each is traced once, here."""

    def make(build: Build) -> Rule:
        traced: list[OpPattern] = []
        for pattern in patterns:
            captures = [
                Capture(p.name, optional=p.default is None) for p in inspect.signature(pattern).parameters.values()
            ]
            root = pattern(*captures)
            assert isinstance(root, OpPattern), f"{build.__name__}: a pattern's root must be an op"
            traced.append(root)
        return Rule(name or build.__name__.replace("_", "-"), tuple(traced), build)

    return make


CLOSEST = 16
"""How many near misses a rule keeps in one rewrite."""


def rewrite(program: Program, graph: Graph, rules: Iterable[Rule]) -> Outcome:
    """Applies the rules everywhere until none fires. New ops take the root's location; dead ops are erased."""
    index: dict[OpDef, list[tuple[Rule, OpPattern]]] = {}
    for each in rules:
        for pattern in each.patterns:
            index.setdefault(pattern.definition, []).append((each, pattern))
    outcome = Outcome()
    misses: dict[tuple[str, Op], NearMiss] = {}
    matcher = Matcher(program)
    pending: dict[Op, None] = dict.fromkeys(reversed([op for op in graph if op.definition in index]))
    while pending:
        op, _ = pending.popitem()
        if op.erased:
            continue
        for each, pattern in index.get(op.definition, ()):
            match = matcher.match(pattern, op)
            if match is None:
                mismatch = matcher.mismatch
                if mismatch is not None and mismatch.matched >= 2:
                    _remember(misses, each, op, mismatch.matched, str(mismatch))
                continue
            replacement = each.build(match, Builder(graph, op, op.location))
            if isinstance(replacement, Refusal):
                _remember(misses, each, op, 1 << 20, replacement.reason)
                continue
            users = op.result.users
            _substitute(graph, each, op, replacement)
            outcome.hits[each.name] += 1
            pending.update(dict.fromkeys(u for u in users if u.definition in index))
            if replacement.owner is not None and replacement.owner.definition in index:
                pending[replacement.owner] = None
            break
    alive = [miss for (_, op), miss in misses.items() if not op.erased]
    outcome.near_misses = _closest(alive)
    return outcome


def _substitute(graph: Graph, rule: Rule, op: Op, new: Value) -> None:
    old = op.result
    assert new is not old, f"{rule.name} replaces a value by itself"
    assert new.type == old.type, f"{rule.name} at {op.location}: {old.type} would become {new.type}"
    graph.replace(old, new)
    graph.erase_dead([op])


def _remember(misses: dict[tuple[str, Op], NearMiss], rule: Rule, op: Op, matched: int, reason: str) -> None:
    known = misses.get((rule.name, op))
    if known is None or known.matched < matched:
        misses[rule.name, op] = NearMiss(rule.name, op.location, matched, reason)


def _closest(misses: list[NearMiss]) -> list[NearMiss]:
    """Of each rule the attempts that came furthest."""
    best: dict[str, list[NearMiss]] = {}
    for miss in misses:
        best.setdefault(miss.rule, []).append(miss)
    return [m for group in best.values() for m in sorted(group, key=lambda m: -m.matched)[:CLOSEST]]
