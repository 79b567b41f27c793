"""Passes that store numbers in fewer bits, and those that prepare for it. Importing them makes them known."""

from graphwright.passes.quantization.awq import AWQ
from graphwright.passes.quantization.bf16_products import ComputeInBF16
from graphwright.passes.quantization.halve_cache import HalveCache
from graphwright.passes.quantization.quantize_activations import QuantizeActivations
from graphwright.passes.quantization.quantize_cache import QuantizeCache
from graphwright.passes.quantization.quantize_embedding import QuantizeEmbedding
from graphwright.passes.quantization.quantize_weights import QuantizeWeights
from graphwright.passes.quantization.restore_quantized import RestoreQuantized
from graphwright.passes.quantization.rotate_residual import RotateResidual
from graphwright.passes.quantization.scheme import Budget, Scheme, shares_embedding
from graphwright.passes.quantization.scheme_text import parse_scheme
from graphwright.passes.quantization.smooth_quant import SmoothQuant

__all__ = [
    "AWQ",
    "Budget",
    "ComputeInBF16",
    "HalveCache",
    "QuantizeActivations",
    "QuantizeCache",
    "QuantizeEmbedding",
    "QuantizeWeights",
    "RestoreQuantized",
    "RotateResidual",
    "Scheme",
    "SmoothQuant",
    "parse_scheme",
    "shares_embedding",
]
