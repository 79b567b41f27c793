"""Dialects of targets: ops that stand for single operators or kernels of a target, declared like any other op."""

from graphwright.ir.dialects import cpu, ort

__all__ = ["cpu", "ort"]
