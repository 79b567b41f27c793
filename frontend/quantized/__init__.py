"""Checkpoints that another tool has quantized: the formats, and what they hold as quantized weights."""

from graphwright.frontend.quantized.activations import round_inputs
from graphwright.frontend.quantized.binding import dequantized, fitted
from graphwright.frontend.quantized.layer import QuantizedLayer, Rounding
from graphwright.frontend.quantized.read import SETTING, quantization_settings, read_quantized

__all__ = [
    "SETTING",
    "QuantizedLayer",
    "Rounding",
    "dequantized",
    "fitted",
    "quantization_settings",
    "read_quantized",
    "round_inputs",
]
