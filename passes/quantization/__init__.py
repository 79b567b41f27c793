"""Passes that store numbers in fewer bits, and those that prepare for it. Importing them makes them known."""

from graphwright.passes.quantization.quantize_activations import QuantizeActivations
from graphwright.passes.quantization.quantize_embedding import QuantizeEmbedding
from graphwright.passes.quantization.quantize_weights import QuantizeWeights

__all__ = ["QuantizeActivations", "QuantizeEmbedding", "QuantizeWeights"]
