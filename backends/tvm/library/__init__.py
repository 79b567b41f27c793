"""The kernels of this backend as they are declared; neither TVM nor bodies of kernels are imported for that."""

from graphwright.backends.tvm.library.kernels import CPU, LIBRARY, library_for

__all__ = ["CPU", "LIBRARY", "library_for"]
