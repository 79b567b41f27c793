"""The TVM backend: optimized programs to artifacts of machine code."""

from graphwright.backends.tvm.compile import build_artifact, plan_text

__all__ = ["build_artifact", "plan_text"]
