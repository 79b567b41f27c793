"""A GPU that is not there: the runtime's own calls of the CUDA driver go to a stand-in that interprets kernels."""

from graphwright.emulating.emulator import emulated_engine

__all__ = ["emulated_engine"]
