"""Emission: how each op is written as calls of kernels: ours, or loops that TVM makes of tensor expressions."""

from graphwright.backends.tvm.emit.graph import Emitted, emit_graph
from graphwright.backends.tvm.emit.kernel_module import KernelModule

__all__ = ["Emitted", "KernelModule", "emit_graph"]
