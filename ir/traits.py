"""What passes ask of an op beside its types: traits, declared with it instead of kept as lists of ops in passes.

Tests hold each against the reference evaluations of all ops (`tests/ir/test_traits.py`).
"""

from enum import Enum


class Trait(Enum):
    """A property of every application of an op."""

    ELEMENTWISE = "elementwise"
    """An element of the result is made from the elements in its place, of operands that are aligned at the right and
    repeated along axes of length 1."""
    MOVES = "moves"
    """The results are elements of the operands; which ones follows from shapes and attributes."""
    LINEAR = "linear"
    """f(a + b) = f(a) + f(b) of floats, in all operands together, but for rounding."""
    CHEAP = "cheap"
    """It may be done again for all tokens at every step: work in proportion to elements, no products of matrices."""
    SWITCHES = "switches"
    """It behaves otherwise from some number on: conditions, and functions that are straight in pieces."""
    SHAPED = "shaped"
    """Its attributes state the lengths of its result's axes, and hold dimensions for nothing else."""


IMPLIED = {Trait.ELEMENTWISE: {Trait.CHEAP}, Trait.MOVES: {Trait.CHEAP, Trait.LINEAR}}


def with_implied(traits: tuple[Trait, ...]) -> frozenset[Trait]:
    """The traits with those that follow from them: elementwise ops and moves are cheap, and moves are linear."""
    return frozenset(traits).union(*(IMPLIED.get(trait, ()) for trait in traits))
