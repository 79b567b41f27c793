"""Checkpoints that another tool has quantized: the formats, and what they hold as quantized weights."""

from graphwright.frontend.quantized.activations import round_inputs
from graphwright.frontend.quantized.binding import dequantized, fitted
from graphwright.frontend.quantized.layer import QuantizedLayer, Rounding
from graphwright.frontend.quantized.read import read_quantized

__all__ = ["QuantizedLayer", "Rounding", "dequantized", "fitted", "read_quantized", "round_inputs"]
