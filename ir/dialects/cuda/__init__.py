"""What the kernels of a GPU compute in one launch, as ops with a type rule, a reference and a cost."""

from graphwright.ir.dialects.cuda import append_attention, attention, choosing, linear, rotary

__all__ = ["append_attention", "attention", "choosing", "linear", "rotary"]
