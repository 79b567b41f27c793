"""The proofs that a grammar's closed forms hold.

Every choice is a prefix code. Two branches are told apart by their first words alone where these differ for every value
of the facts that they speak of; otherwise one more word is looked at, up to the next choice. Facts are enumerated over
their whole pools, whether or not the grammar would let the values meet, so the proof can refuse a sound grammar but
never pass an ambiguous one.

Every fact is drawn at most once in a story and, on every route, before it is spoken of or drawn from.
"""

import itertools
from collections.abc import Iterator

from examples.storyteller.grammar import AmbiguousGrammar, Grammar, Place, spoken
from examples.storyteller.template import Draw, Entry, Facts, Word

Continuation = tuple[tuple[Word, ...], dict[str, Entry]]


class MisplacedFact(Exception):
    """A fact is drawn twice, or needed where it may not have been drawn."""


def check_unambiguous(grammar: Grammar) -> None:
    """Raises AmbiguousGrammar, naming the scene and the words, when one branch can begin like a sibling."""
    for place in grammar.choices():
        for one, other in itertools.combinations(_continuations(grammar, place), 2):
            clash = _clash(grammar, one, other)
            if clash is not None:
                raise AmbiguousGrammar(f"scene {place.scene!r}: {clash[0]!r} and {clash[1]!r} begin alike; reword one")


def check_facts(grammar: Grammar) -> None:
    """Raises MisplacedFact, naming the scene and the fact, when a route draws a fact twice or misses one it needs."""
    sure: dict[str, frozenset[str]] = {grammar.start: frozenset()}
    possible: dict[str, frozenset[str]] = {grammar.start: frozenset()}
    for scene, options in grammar.routes():
        for steps, then in options:
            known, drawn = sure[scene], possible[scene]
            for step in steps:
                reads = step.reads if isinstance(step, Word) else grammar.facts[step.fact].reads
                if missing := reads - known:
                    raise MisplacedFact(f"scene {scene!r}: {sorted(missing)} may be needed before being drawn; draw it")
                if isinstance(step, Draw):
                    if step.fact in drawn:
                        raise MisplacedFact(f"scene {scene!r}: {step.fact!r} may be drawn twice; name another fact")
                    known, drawn = known | {step.fact}, drawn | {step.fact}
            if then is not None:
                sure[then] = sure.get(then, known) & known
                possible[then] = possible.get(then, drawn) | drawn


def _bindings(grammar: Grammar, words: tuple[Word, ...]) -> Iterator[Facts]:
    """Every way to fill the facts that some words speak of."""
    names = sorted(frozenset[str]().union(*(word.reads for word in words)))
    for entries in itertools.product(*(grammar.facts[name].pool for name in names)):
        yield dict(zip(names, entries, strict=True))


def _continuations(grammar: Grammar, place: Place) -> Iterator[Continuation]:
    for _, drawn, following in grammar.openings(place):
        words, _ = grammar.until_choice(following)
        for entries in itertools.product(*(grammar.facts[name].pool for name in drawn)):
            yield words, dict(zip(drawn, entries, strict=True))


def _clash(grammar: Grammar, one: Continuation, other: Continuation) -> tuple[str, str] | None:
    clash = ("", "")
    for count in range(1, max(len(one[0]), len(other[0])) + 1):
        found = _clash_within(grammar, one, other, count)
        if found is None:
            return None
        clash = found
    return clash


def _clash_within(grammar: Grammar, one: Continuation, other: Continuation, count: int) -> tuple[str, str] | None:
    mine, theirs = one[0][:count], other[0][:count]
    for facts in _bindings(grammar, mine + theirs):
        first, second = spoken(mine, {**facts, **one[1]}), spoken(theirs, {**facts, **other[1]})
        if first.startswith(second) or second.startswith(first):
            return first, second
    return None
