"""Applies rules to a graph until none fires, and keeps a record of the closest failures."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from graphwright.ir.builder import Builder
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.program import Program
from graphwright.ir.rewriting.matcher import Match, Matcher
from graphwright.ir.rewriting.outcome import NearMiss, Outcome
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

    @property
    def roots(self) -> tuple[str, ...]:
        """The names of the ops at which its patterns begin."""
        return tuple(dict.fromkeys(pattern.definition.name for pattern in self.patterns))


PatternFunction = (
    Callable[[Pattern], Pattern]
    | Callable[[Pattern, Pattern], Pattern]
    | Callable[[Pattern, Pattern, Pattern], Pattern]
    | Callable[[Pattern, Pattern, Pattern, Pattern], Pattern]
)
"""A pattern of captures. The numbers of them stand here one by one, so that parameters of a lambda have a type."""


def rule(*patterns: PatternFunction, name: str = "") -> Callable[[Build], Rule]:
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


Index = dict[OpDef, list[tuple[Rule, OpPattern, int]]]
"""Of each op, the patterns that begin at it, with their rules and the ops at which a failure counts as near."""


def rewrite(program: Program, graph: Graph, rules: Iterable[Rule]) -> Outcome:
    """Applies the rules everywhere until none fires. New ops take the root's location; dead ops are erased."""
    rewriting = _Rewriting(program, graph, rules)
    # A rule may complete a match whose root lies further on than its users: only a sweep without a hit is the end.
    while rewriting.sweep():
        pass
    return rewriting.finish()


class _Rewriting:
    def __init__(self, program: Program, graph: Graph, rules: Iterable[Rule]) -> None:
        self.graph = graph
        self.index: Index = {}
        for each in rules:
            for pattern in each.patterns:
                near = max(2, (len(pattern.within) + 1) // 2)
                self.index.setdefault(pattern.definition, []).append((each, pattern, near))
        self.matcher = Matcher(program)
        self.outcome = Outcome()
        self.misses: dict[tuple[str, Op], NearMiss] = {}
        self.patience = 1000 + 20 * len(graph)

    def sweep(self) -> bool:
        """Tries every op, and those that a replacement touches again; whether any rule fired."""
        fired = False
        self.misses = {}
        pending = dict.fromkeys(reversed([op for op in self.graph if op.definition in self.index]))
        while pending:
            op, _ = pending.popitem()
            if op.erased:
                continue
            touched = self._visit(op)
            fired = fired or bool(touched)
            pending.update((each, None) for each in touched if each.definition in self.index)
        return fired

    def finish(self) -> Outcome:
        """What happened. What stopped a rule is told as the last sweep found it, when nothing fired any more."""
        self.outcome.near_misses = list(self.misses.values())
        kinds = Counter(op.definition for op in self.graph)
        for definition, rules in self.index.items():
            for name in dict.fromkeys(rule.name for rule, *_ in rules):
                self.outcome.candidates[name] += kinds[definition]
        return self.outcome

    def _visit(self, op: Op) -> list[Op]:
        """Applies the first rule that fits; gives the op, its new ops and its users, or nothing if no rule fits."""
        for rule, pattern, near in self.index[op.definition]:
            match = self.matcher.match(pattern, op)
            if match is None:
                mismatch = self.matcher.mismatch
                if mismatch is not None and mismatch.matched >= near:
                    self._remember(rule, op, mismatch.matched, str(mismatch))
                continue
            builder = Builder(self.graph, op, op.location)
            replacement = rule.build(match, builder)
            if isinstance(replacement, Refusal):
                self.graph.erase_dead(builder.created)
                if match.size > 1:  # a rule that only saw its root was not near
                    self._remember(rule, op, match.size, replacement.reason)
                continue
            touched = [op, *op.result.users, *builder.created]
            self.outcome.hit(rule.name, op, match.ops)
            self._substitute(rule, op, replacement)
            self.graph.erase_dead(builder.created)
            return touched
        return []

    def _substitute(self, rule: Rule, op: Op, new: Value) -> None:
        old = op.result
        assert new is not old, f"{rule.name} replaces a value by itself"
        assert new.type == old.type, f"{rule.name} at {op.location}: {old.type} would become {new.type}"
        self.patience -= 1
        assert self.patience > 0, f"the rules do not come to an end: {self.outcome.hits}, at last {rule.name}"
        self.graph.replace(old, new)
        self.graph.erase_dead([op])

    def _remember(self, rule: Rule, op: Op, matched: int, reason: str) -> None:
        """Keeps the failure that came furthest at this op, of all the rule's patterns."""
        known = self.misses.get((rule.name, op))
        if known is None or known.matched <= matched:
            self.misses[rule.name, op] = NearMiss(rule.name, op.location, matched, reason, op)
