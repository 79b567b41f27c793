"""Pattern rewriting: rules that read like the maths they recognize, near misses that say what stopped them."""

from graphwright.ir.rewriting.driver import Refusal, Rule, rewrite, rule
from graphwright.ir.rewriting.matcher import Match, number
from graphwright.ir.rewriting.outcome import NearMiss, Outcome
from graphwright.ir.rewriting.pattern import (
    LAST,
    Capture,
    OpPattern,
    Pattern,
    attribute,
    cast_or_not,
    either,
)

__all__ = [
    "LAST",
    "Capture",
    "Match",
    "NearMiss",
    "OpPattern",
    "Outcome",
    "Pattern",
    "Refusal",
    "Rule",
    "attribute",
    "cast_or_not",
    "either",
    "number",
    "rewrite",
    "rule",
]
