"""The grammar's exact figures, against enumeration by hand and against sampling."""

import math
import random
import re
import statistics

import pytest

from examples.storyteller import STORIES, AmbiguousGrammar, Entry, Fact, Grammar, Option

SIGMAS = 5.0
"""A sound estimate misses by more standard errors once in 1.7 million seeds; the seeds are fixed."""

PETS = tuple(Entry({"noun": noun, "kind": kind}) for noun, kind in (("cat", "purr"), ("dog", "bark"), ("pup", "bark")))
NOISES = tuple(
    Entry({"verb": verb, "suits": suits})
    for verb, suits in (("purrs", "purr"), ("barks", "bark"), ("naps", "purr bark"))
)

TINY = Grammar(
    start="one",
    scenes={
        "one": (Option(3, "A [pet]{pet.noun} [noise]{noise.verb}.", "two"), Option(1, "Nobody is here.", None)),
        "two": (Option(1, "{pet.Noun} and [other]{other.noun}!", None), Option(1, "The end.", None)),
    },
    facts={"pet": Fact(PETS), "other": Fact(PETS, unlike=("pet",)), "noise": Fact(NOISES, suits="pet")},
)


def tiny_stories() -> dict[str, float]:
    """Every story of the tiny grammar with its probability, written out independently of the grammar's code."""
    told = {"Nobody is here.": 1 / 4}
    for pet, verbs in {"cat": ("purrs", "naps"), "dog": ("barks", "naps"), "pup": ("barks", "naps")}.items():
        for verb in verbs:
            told[f"A {pet} {verb}. The end."] = 3 / 4 / 3 / 2 / 2
            for other in {"cat", "dog", "pup"} - {pet}:
                told[f"A {pet} {verb}. {pet.capitalize()} and {other}!"] = 3 / 4 / 3 / 2 / 2 / 2
    return told


def count_pieces(text: str) -> int:
    return len(re.findall(r"\w+|[^\w\s]", text))


@pytest.fixture(scope="module")
def stories() -> list[str]:
    return STORIES.stories(1500, seed=7)


def test_probabilities_are_those_of_an_enumeration():
    told = tiny_stories()
    assert sum(told.values()) == pytest.approx(1.0, abs=1e-15)
    for story, probability in told.items():
        assert TINY.log_probability(story) == pytest.approx(math.log(probability), abs=1e-12)


def test_entropy_is_that_of_an_enumeration():
    expected = -sum(p * math.log(p) for p in tiny_stories().values())
    assert TINY.entropy() == pytest.approx(expected, abs=1e-12)


def test_expected_length_is_that_of_an_enumeration():
    expected = sum(p * len(story) for story, p in tiny_stories().items())
    assert TINY.expected_length(len) == pytest.approx(expected, abs=1e-12)


def test_only_enumerated_stories_are_told():
    rng = random.Random(0)
    assert {TINY.story(rng) for _ in range(2000)} == tiny_stories().keys()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Nobody is",
        "Nobody is here. And more.",
        "A cat barks. The end.",
        "A cat purrs. Dog and pup!",
        "A cat purrs. Cat and cat!",
        "A cow naps. The end.",
    ],
)
def test_a_text_outside_the_grammar_is_impossible(text: str):
    assert TINY.log_probability(text) == -math.inf


def test_an_ambiguous_text_is_refused():
    same = Grammar("one", {"one": (Option(1, "Hello.", None), Option(1, "Hello.", None))}, {})
    with pytest.raises(AmbiguousGrammar, match="scene 'one'"):
        same.log_probability("Hello.")


def test_stories_depend_on_the_seed_alone(stories: list[str]):
    assert STORIES.stories(20, seed=7) == stories[:20]
    assert not set(STORIES.stories(20, seed=8)) & set(stories)


def test_story_entropy_agrees_with_sampling(stories: list[str]):
    surprises = [-STORIES.log_probability(story) for story in stories]
    standard_error = statistics.stdev(surprises) / math.sqrt(len(surprises))
    assert abs(statistics.fmean(surprises) - STORIES.entropy()) < SIGMAS * standard_error


def test_story_length_agrees_with_sampling(stories: list[str]):
    lengths = [count_pieces(story) for story in stories]
    standard_error = statistics.stdev(lengths) / math.sqrt(len(lengths))
    assert abs(statistics.fmean(lengths) - STORIES.expected_length(count_pieces)) < SIGMAS * standard_error


def test_a_changed_word_far_into_a_story_is_noticed(stories: list[str]):
    story = next(story for story in stories if story.startswith("Once") and " needs a friend." in story)
    nature = re.match(r"Once upon a time there was an? (\w+)", story)
    assert nature is not None
    before, after = story.rsplit(nature[1], 1)
    other = "shy" if nature[1] != "shy" else "brave"
    assert STORIES.log_probability(before + other + after) == -math.inf


def test_stories_are_varied_and_short(stories: list[str]):
    assert len(set(stories)) == len(stories)
    assert len({word for story in stories for word in re.findall(r"[^\W\d_]+", story)}) > 500
    assert all(60 <= count_pieces(story) <= 160 for story in stories)
