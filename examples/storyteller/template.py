"""The templates of a grammar: words with slots, the places where facts are drawn, and the facts themselves."""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Entry:
    """One value that a fact can take, by the forms in which a story speaks of it."""

    forms: Mapping[str, str]

    def say(self, form: str) -> str:
        """The form's text; a form asked for with a capital (`They`) has its first letter raised."""
        if form in self.forms:
            return self.forms[form]
        text = self.forms[form.lower()]
        return text[:1].upper() + text[1:]


Facts = Mapping[str, Entry]


@dataclass(frozen=True)
class Fact:
    """Something drawn uniformly from those entries of a pool that go with the facts drawn before.

    `unlike` names facts whose value is excluded. `suits` names a fact whose form `kind` must be among the words of an
    entry's form `suits`.
    """

    pool: tuple[Entry, ...]
    unlike: tuple[str, ...] = ()
    suits: str | None = None

    @property
    def reads(self) -> frozenset[str]:
        return frozenset(self.unlike if self.suits is None else (*self.unlike, self.suits))

    def eligible(self, facts: Facts) -> list[Entry]:
        taken = [facts[name] for name in self.unlike]
        kind = facts[self.suits].forms["kind"] if self.suits else None
        return [
            entry
            for entry in self.pool
            if entry not in taken and (kind is None or kind in entry.forms["suits"].split())
        ]


@dataclass(frozen=True)
class Slot:
    """A place where a template says a form of a fact drawn before."""

    fact: str
    form: str


@dataclass(frozen=True)
class Word:
    """What a template says between two spaces, with the space before it."""

    parts: tuple[str | Slot, ...]

    @property
    def reads(self) -> frozenset[str]:
        return frozenset(part.fact for part in self.parts if isinstance(part, Slot))

    def spoken(self, facts: Facts) -> str:
        return "".join(part if isinstance(part, str) else facts[part.fact].say(part.form) for part in self.parts)


@dataclass(frozen=True)
class Draw:
    """The place in a template where a fact is drawn. It says nothing by itself."""

    fact: str


def parse_template(template: str, *, begins_story: bool) -> tuple[Word | Draw, ...]:
    """The steps of a template: `[hero]` draws the fact `hero`, `{hero.name}` says its form `name`.

    Each word carries the space before it, except the first word of a story.
    """
    steps: list[Word | Draw] = []
    silent = begins_story
    for chunk in template.split():
        while drawn := re.match(r"\[(\w+)\]", chunk):
            steps.append(Draw(drawn[1]))
            chunk = chunk[drawn.end() :]
        pieces = re.split(r"(\{\w+\.\w+\})", chunk if silent else " " + chunk)
        steps.append(Word(tuple(_part(piece) for piece in pieces if piece)))
        silent = False
    return tuple(steps)


def _part(piece: str) -> str | Slot:
    if not piece.startswith("{"):
        return piece
    fact, form = piece.strip("{}").split(".")
    return Slot(fact, form)
