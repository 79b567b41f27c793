"""The TVM backend: lowered programs to libraries of machine code.

TVM is imported on first use.
"""

from graphwright.backends.tvm.backend import TvmBackend

__all__ = ["TvmBackend"]
