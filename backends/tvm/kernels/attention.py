"""The IR's `attention`, by phase."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.attention_decode import attention_decode
from graphwright.backends.tvm.kernels.attention_form import AttentionForm
from graphwright.backends.tvm.kernels.attention_prefill import attention_prefill

FEW = 8
"""Queries from which on there are enough of them to keep all threads busy, without cutting keys into parts."""


def attention(cpu: Cpu, form: AttentionForm, *, queries: int | None) -> Any:
    """Attention of so many queries a row, None where that is not known; `AttentionForm` tells the operands."""
    if queries is not None and queries <= FEW:
        return attention_decode(cpu, form, queries)
    return attention_prefill(cpu, form)
