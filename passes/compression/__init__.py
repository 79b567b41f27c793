"""Passes that leave numbers out of weights: pruning and low rank. Importing them makes them known."""

from graphwright.passes.compression.low_rank import LowRank
from graphwright.passes.compression.prune import Prune

__all__ = ["LowRank", "Prune"]
