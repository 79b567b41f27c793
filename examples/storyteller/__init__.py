"""The storyteller: a grammar of little stories with known entropy, and the small language model trained on them."""

from examples.storyteller.grammar import AmbiguousGrammar, Grammar, Option
from examples.storyteller.proofs import MisplacedFact, check_facts, check_unambiguous
from examples.storyteller.scenes import STORIES
from examples.storyteller.template import Entry, Fact

__all__ = [
    "STORIES",
    "AmbiguousGrammar",
    "Entry",
    "Fact",
    "Grammar",
    "MisplacedFact",
    "Option",
    "check_facts",
    "check_unambiguous",
]
