"""Lowering for the CPU's kernels: passes that put one op in the place of those that one kernel does."""

from graphwright.passes.lowering.cpu.sequence import CPU

__all__ = ["CPU"]
