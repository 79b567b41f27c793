"""Lowering for the CPU's kernels: passes that put one op in the place of those that one kernel does."""

from graphwright.passes.lowering.cpu.sequence import cpu_lowering

__all__ = ["cpu_lowering"]
