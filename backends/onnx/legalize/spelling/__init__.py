"""How composite ops are spelt out in primitives."""

from graphwright.backends.onnx.legalize.spelling.types import NARROW, SHORT, Spelling

__all__ = ["NARROW", "SHORT", "Spelling"]
