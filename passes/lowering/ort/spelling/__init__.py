"""How composite ops are spelt out in primitives."""

from graphwright.passes.lowering.ort.spelling.types import NARROW, SHORT, Spelling

__all__ = ["NARROW", "SHORT", "Spelling"]
