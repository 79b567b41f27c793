"""What the kernels of a GPU compute in one launch, as ops with a type rule, a reference and a cost."""

from graphwright.ir.dialects.cuda import attention, linear, rotary

__all__ = ["attention", "linear", "rotary"]
