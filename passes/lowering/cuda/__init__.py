"""Passes from the IR's ops down to what the kernels of a GPU take."""

from graphwright.passes.lowering.cuda.sequence import cuda_lowering

__all__ = ["cuda_lowering"]
