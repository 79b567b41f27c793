"""The proofs pass the stories' grammar and refuse grammars with a flaw."""

import pytest

from examples.storyteller import (
    STORIES,
    AmbiguousGrammar,
    Entry,
    Fact,
    Grammar,
    MisplacedFact,
    Option,
    check_facts,
    check_unambiguous,
)

NAMES = Fact(tuple(Entry({"name": name}) for name in ("Pip", "Pippa", "Zoë")))


def grammar(*templates: str, then: tuple[str, ...] = ()) -> Grammar:
    """One scene of some templates and, where given, a second scene that follows each of them."""
    first = tuple(Option(1, template, "second" if then else None) for template in templates)
    second = {"second": tuple(Option(1, template, None) for template in then)} if then else {}
    return Grammar("first", {"first": first, **second}, {"hero": NAMES, "friend": Fact(NAMES.pool, unlike=("hero",))})


def test_the_stories_are_unambiguous():
    check_unambiguous(STORIES)


def test_the_stories_draw_each_fact_once_before_its_use():
    check_facts(STORIES)


def test_names_that_begin_alike_are_told_apart_by_the_next_word():
    check_unambiguous(grammar("[hero]{hero.name} sleeps.", "Nobody sleeps."))


@pytest.mark.parametrize(
    "flawed",
    [
        grammar("Hello.", "Hello. Again."),
        grammar("[hero]{hero.name} sleeps.", "Zoë sleeps."),
        grammar("See [hero]{hero.name}", "See nobody."[:3] + " Pip Pip"),
        grammar("[hero]{hero.name}", then=("is here.",)),
        grammar("See [hero]{hero.name}.", then=("{hero.name} ran.", "Pip ran.")),
    ],
)
def test_branches_that_begin_alike_are_refused(flawed: Grammar):
    with pytest.raises(AmbiguousGrammar, match=r"scene '\w+': '.*' and '.*' begin alike"):
        check_unambiguous(flawed)


@pytest.mark.parametrize(
    ("flawed", "complaint"),
    [
        (grammar("{hero.name} sleeps."), r"scene 'first': \['hero'\] may be needed"),
        (grammar("[friend]{friend.name} sleeps."), r"scene 'first': \['hero'\] may be needed"),
        (grammar("Nobody slept.", "[hero]{hero.name} slept.", then=("{hero.name} woke.",)), "scene 'second'"),
        (grammar("See [hero]{hero.name} and [hero]{hero.name}."), "scene 'first': 'hero' may be drawn twice"),
        (grammar("Nobody slept.", "[hero]{hero.name} slept.", then=("Then [hero]{hero.name} woke.",)), "drawn twice"),
    ],
)
def test_facts_out_of_place_are_refused(flawed: Grammar, complaint: str):
    with pytest.raises(MisplacedFact, match=complaint):
        check_facts(flawed)
