"""A probabilistic grammar with memory, whose entropy is known exactly.

A story is a walk through *scenes*. In a scene one option is chosen; its template says words and draws *facts* (a hero,
a colour, a cup of soup) that later templates speak of again, so that what comes late depends on what came early.

Every choice is a prefix code: the words after one branch never begin the words after a sibling (`proofs.py` proves
it). So a text has at most one derivation, `log_probability` is exact, and by the chain rule (Cover & Thomas, *Elements
of Information Theory*, 2nd ed., theorem 2.5.1) the entropy of the texts is the summed entropy of the choices, each
times the probability of getting there. That has a closed form, because options have fixed weights and a fact is drawn
in the same way wherever it is drawn: the route through the scenes and the facts are independent of each other.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter

from examples.storyteller.template import Draw, Entry, Fact, Facts, Word, parse_template


class AmbiguousGrammar(Exception):
    """Two branches of one choice can begin with the same words."""


@dataclass(frozen=True)
class Option:
    """One way through a scene: its weight among its siblings, its template, and the next scene (None: the end)."""

    weight: float
    template: str
    then: str | None


@dataclass(frozen=True)
class Place:
    """A place in the grammar: before a step of an option, or (no option) before the choice of a scene, or the end."""

    scene: str | None
    option: int | None = None
    step: int = 0


@dataclass(frozen=True)
class Branch:
    """One outcome of a choice: its probability, the facts after it, and the place it leads to."""

    probability: float
    facts: Facts
    place: Place


@dataclass(frozen=True)
class Grammar:
    """Scenes by name and facts by name. The scenes form an acyclic graph from `start`, so every story ends."""

    start: str
    scenes: Mapping[str, Sequence[Option]]
    facts: Mapping[str, Fact]

    def story(self, rng: random.Random) -> str:
        """Draw one story."""
        place, facts, text = Place(self.start), dict[str, Entry](), ""
        while place.scene is not None:
            branches = self._branches(place, facts)
            chosen = rng.choices(branches, [branch.probability for branch in branches])[0]
            words, place = self.until_choice(chosen.place)
            facts = dict(chosen.facts)
            text += spoken(words, facts)
        return text

    def stories(self, count: int, seed: int) -> list[str]:
        """Draw `count` stories, the same ones for the same seed."""
        rng = random.Random(seed)
        return [self.story(rng) for _ in range(count)]

    def log_probability(self, text: str) -> float:
        """The natural logarithm of the probability of a whole story; `-inf` when the grammar cannot tell it.

        Raises AmbiguousGrammar when two branches explain the same words.
        """
        place, facts, rest, total = Place(self.start), dict[str, Entry](), text, 0.0
        while place.scene is not None:
            matching: list[tuple[Branch, Place, str]] = []
            for branch in self._branches(place, facts):
                words, following = self.until_choice(branch.place)
                said = spoken(words, branch.facts)
                if rest.startswith(said):
                    matching.append((branch, following, said))
            if not matching:
                return -math.inf
            if len(matching) > 1:
                raise AmbiguousGrammar(f"scene {place.scene!r}: two branches explain {rest[:60]!r}; make them differ")
            branch, place, said = matching[0]
            facts, rest, total = dict(branch.facts), rest[len(said) :], total + math.log(branch.probability)
        return -math.inf if rest else total

    def entropy(self) -> float:
        """The exact entropy of the stories, in nats a story."""
        of_scenes = sum(
            -self._reach[scene] * share * math.log(share) for scene in self.scenes for share in self._shares(scene)
        )
        draws = {step.fact for _, step in self._reached_steps() if isinstance(step, Draw)}
        of_draw = {
            name: sum(
                probability * math.log(len(self.facts[name].eligible(known)))
                for probability, known in self._joint(self.facts[name].reads)
            )
            for name in draws
        }
        return of_scenes + sum(
            reach * of_draw[step.fact] for reach, step in self._reached_steps() if isinstance(step, Draw)
        )

    def expected_length(self, length: Callable[[str], int]) -> float:
        """The exact mean over stories of a length that adds up over words, such as the number of tokens.

        `length` is given a template's word as it is spoken, with the space before it.
        """
        total = 0.0
        for reach, step in self._reached_steps():
            if isinstance(step, Word):
                joint = self._joint(step.reads)
                total += reach * sum(probability * length(step.spoken(facts)) for probability, facts in joint)
        return total

    def routes(self) -> Iterator[tuple[str, list[tuple[Sequence[Word | Draw], str | None]]]]:
        """The scenes, each after all that lead to it, with the steps of each option and the scene that follows it."""
        for scene in self._order:
            following = [option.then for option in self.scenes[scene]]
            yield scene, list(zip(self._steps[scene], following, strict=True))

    def choices(self) -> Iterator[Place]:
        """Every place where something is chosen: the scenes, and the draws that follow a word."""
        for scene, options in self._steps.items():
            yield Place(scene)
            for option, steps in enumerate(options):
                for step in range(1, len(steps)):
                    if isinstance(steps[step], Draw) and isinstance(steps[step - 1], Word):
                        yield Place(scene, option, step)

    def openings(self, place: Place) -> list[tuple[float, tuple[str, ...], Place]]:
        """The ways on from a choice: the share of each, the facts drawn before its next word, that word's place."""
        assert place.scene is not None, "the end has no ways on"
        if place.option is None:
            ways = [(share, Place(place.scene, option)) for option, share in enumerate(self._shares(place.scene))]
        else:
            ways = [(1.0, place)]
        return [(share, *self._draws(way)) for share, way in ways]

    def until_choice(self, place: Place) -> tuple[tuple[Word, ...], Place]:
        """The words that are certain from a place on, and the choice (or the end) that follows them."""
        return self._certain[place]

    def _reached_steps(self) -> Iterator[tuple[float, Word | Draw]]:
        for scene, options in self._steps.items():
            for share, steps in zip(self._shares(scene), options, strict=True):
                yield from ((self._reach[scene] * share, step) for step in steps)

    @cached_property
    def _steps(self) -> dict[str, list[tuple[Word | Draw, ...]]]:
        return {
            scene: [parse_template(option.template, begins_story=scene == self.start) for option in options]
            for scene, options in self.scenes.items()
        }

    @cached_property
    def _certain(self) -> dict[Place, tuple[tuple[Word, ...], Place]]:
        certain: dict[Place, tuple[tuple[Word, ...], Place]] = {}
        for scene, options in self._steps.items():
            for option, steps in enumerate(options):
                words, following = tuple[Word, ...](), Place(self.scenes[scene][option].then)
                for step in range(len(steps) - 1, -1, -1):
                    at, place = steps[step], Place(scene, option, step)
                    if isinstance(at, Word):
                        words = (at, *words)
                    else:
                        words, following = (), place
                    certain[place] = (words, following)
        return certain

    def _draws(self, place: Place) -> tuple[tuple[str, ...], Place]:
        assert place.scene is not None, "the end draws nothing"
        assert place.option is not None, "only options draw"
        steps, step, drawn = self._steps[place.scene][place.option], place.step, list[str]()
        while isinstance(at := steps[step], Draw):
            drawn.append(at.fact)
            step += 1
        return tuple(drawn), Place(place.scene, place.option, step)

    def _branches(self, place: Place, facts: Facts) -> list[Branch]:
        branches: list[Branch] = []
        for share, drawn, following in self.openings(place):
            outcomes = self._draw_all(drawn, [(share, facts)])
            branches += [Branch(probability, known, following) for probability, known in outcomes]
        return branches

    @cached_property
    def _reach(self) -> dict[str, float]:
        """The probability that a story comes through each scene."""
        reach = dict.fromkeys(self.scenes, 0.0) | {self.start: 1.0}
        for scene in self._order:
            for share, option in zip(self._shares(scene), self.scenes[scene], strict=True):
                if option.then is not None:
                    reach[option.then] += share * reach[scene]
        return reach

    @cached_property
    def _order(self) -> tuple[str, ...]:
        following = {name: {o.then for o in options if o.then is not None} for name, options in self.scenes.items()}
        return tuple(TopologicalSorter(following).static_order())[::-1]

    def _shares(self, scene: str) -> list[float]:
        total = sum(option.weight for option in self.scenes[scene])
        return [option.weight / total for option in self.scenes[scene]]

    def _joint(self, names: frozenset[str]) -> list[tuple[float, Facts]]:
        """The joint distribution of some facts and of those that they are drawn from."""
        ancestors = {name: self.facts[name].reads for name in self.facts}
        wanted = set(names)
        for name in reversed(tuple(TopologicalSorter(ancestors).static_order())):
            wanted |= ancestors[name] if name in wanted else set()
        order = TopologicalSorter({name: ancestors[name] for name in wanted}).static_order()
        return self._draw_all(order, [(1.0, {})])

    def _draw_all(self, names: Iterable[str], outcomes: list[tuple[float, Facts]]) -> list[tuple[float, Facts]]:
        """Each outcome with its probability, extended by every way to draw the named facts one after the other."""
        for name in names:
            outcomes = [
                (probability / len(eligible), {**known, name: entry})
                for probability, known in outcomes
                for eligible in [self.facts[name].eligible(known)]
                for entry in eligible
            ]
        return outcomes


def spoken(words: Sequence[Word], facts: Facts) -> str:
    """The text of some words."""
    return "".join(word.spoken(facts) for word in words)
