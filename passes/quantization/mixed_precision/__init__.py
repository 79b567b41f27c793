"""Chooses a format for each weight by what it loses and what it costs. Importing it makes the pass known."""

from graphwright.passes.quantization.mixed_precision.mixed_precision import MixedPrecision

__all__ = ["MixedPrecision"]
