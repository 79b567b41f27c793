"""The IR's `attention`, by phase."""

from __future__ import annotations

from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.attention_decode import attention_decode
from graphwright.backends.tvm.kernels.attention_form import AttentionForm
from graphwright.backends.tvm.kernels.attention_prefill import attention_prefill


def attention(cpu: Cpu, form: AttentionForm, *, settings: Settings, queries: int | None) -> Any:
    """Attention of so many queries a row, None where that is not known; `AttentionForm` tells the operands."""
    # More of them keep all threads busy without cutting keys into parts.
    if queries is not None and queries <= settings["few"]:
        return attention_decode(cpu, settings, form, queries)
    return attention_prefill(cpu, settings, form)
