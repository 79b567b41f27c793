"""The IR's `attention`, by phase."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.attention_form import AttentionForm
from graphwright.backends.tvm.kernels.attention_prefill import attention_prefill


def attention(cpu: Cpu, form: AttentionForm, *, queries: int | None) -> Any:
    """Attention of so many queries a row, None where that is not known; `AttentionForm` tells the operands."""
    return attention_prefill(cpu, form)
