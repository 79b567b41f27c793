"""The kernels of this backend as they are declared; neither Triton nor bodies of kernels are imported for that."""

from graphwright.backends.cuda.library.kernels import LIBRARY, library_for

__all__ = ["LIBRARY", "library_for"]
