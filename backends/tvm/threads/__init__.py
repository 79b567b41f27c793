"""The same kernels for the threads of a GPU: each runs one iteration of a stage, as CUDA C or beside it on a CPU."""

from graphwright.backends.tvm.threads.library import LIBRARY, THREAD

__all__ = ["LIBRARY", "THREAD"]
