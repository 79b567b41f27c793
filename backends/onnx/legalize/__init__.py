"""Legalization: rewrites a graph until the target takes every op of it."""

from graphwright.backends.onnx.legalize.pipeline import legalize

__all__ = ["legalize"]
