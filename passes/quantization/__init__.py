"""Passes that store numbers in fewer bits, and those that prepare for it. Importing them makes them known."""

from graphwright.passes.quantization.quantize_weights import QuantizeWeights
from graphwright.passes.quantization.scheme import Budget, Scheme, shares_embedding
from graphwright.passes.quantization.scheme_text import parse_scheme

__all__ = ["Budget", "QuantizeWeights", "Scheme", "parse_scheme", "shares_embedding"]
