"""What a rewrite did: where each rule matched, and where it nearly did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from graphwright.ir.graph import Op


@dataclass(frozen=True)
class NearMiss:
    """A rule that almost fired: where, how many ops had matched, and what stopped it.

    `op` is the one at which the rule was tried; None in a report, which is not to keep a graph alive.
    """

    rule: str
    location: str
    matched: int
    reason: str
    op: Op | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.rule}{' at ' + self.location if self.location else ''}: {self.reason}"


@dataclass
class Outcome:
    """What a rewrite did.

    `places` says of each rule how often it matched in which module; `replaced` are the ops in whose place something
    else came because they were recognized, `taken` those that such matches took in besides; `candidates` says how many
    ops of the kind that a rule begins at are left.
    """

    places: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    near_misses: list[NearMiss] = field(default_factory=list[NearMiss])
    replaced: set[Op] = field(default_factory=set[Op])
    taken: set[Op] = field(default_factory=set[Op])
    candidates: Counter[str] = field(default_factory=Counter[str])

    @property
    def hits(self) -> Counter[str]:
        """How often each rule matched."""
        return Counter({rule: places.total() for rule, places in self.places.items()})

    @property
    def changed(self) -> bool:
        return bool(self.places)

    def hit(self, rule: str, op: Op | None = None, taken: Iterable[Op] = ()) -> None:
        """A match: the op that it replaces, if it is one op's place, and others that it takes in."""
        self.count(rule, 1, op.location if op is not None else "")
        self.taken.update(taken)
        if op is not None:
            self.replaced.add(op)

    def count(self, rule: str, times: int, location: str = "") -> None:
        """So many changes that are no match of anything, in that module."""
        if times:
            self.places.setdefault(rule, Counter())[location] += times

    def miss(self, rule: str, op: Op, matched: int, reason: str) -> None:
        """A match that failed at this op, after so many ops."""
        self.near_misses.append(NearMiss(rule, op.location, matched, reason, op))

    def merge(self, other: Outcome) -> None:
        for rule, places in list(other.places.items()):
            self.places.setdefault(rule, Counter()).update(places)
        self.near_misses.extend(other.near_misses)
        self.replaced |= other.replaced
        self.taken |= other.taken
        self.candidates.update(other.candidates)
