"""What a spelling is, and the element types that need one."""

from __future__ import annotations

from collections.abc import Callable

from graphwright.ir.builder import Builder
from graphwright.ir.graph import Op, Value
from graphwright.ir.types import DType
from graphwright.passes.lowering.ort.masked_attention import Masks

Spelling = Callable[[Builder, Op, Masks], Value]
"""Builds what stands in the place of an op with one result."""

NARROW = (DType.F16, DType.BF16)
SHORT = (DType.BOOL, DType.I8, DType.U8, DType.I16)
