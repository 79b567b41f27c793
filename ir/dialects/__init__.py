"""Dialects of targets: ops that stand for single operators or kernels of a target, declared like any other op."""

from graphwright.ir.dialects import cpu, cuda, ort

__all__ = ["cpu", "cuda", "ort"]
