"""Kernels of attention, of the caches that it reads and of rotary embedding."""

from __future__ import annotations

from graphwright.backends.kernel_library import Kernel
from graphwright.backends.tvm.library.conditions import NARROW, SINGLE, known_states
from graphwright.ir import ops
from graphwright.ir.dialects.cpu.attention import fused_attention
from graphwright.ir.dialects.cpu.memory import STORED
from graphwright.ir.dialects.cpu.rotary import rotary_append, rotary_embedding, rotary_table
from graphwright.ir.types import DType

ATTENTION = "graphwright.backends.tvm.emit.attention"
ROTARY = "graphwright.backends.tvm.emit.rotary"

KERNELS = (
    Kernel(ops.kv_append, STORED, name="kv_append", body=f"{ATTENTION}:emit_kv_append"),
    Kernel(ops.kv_read, STORED, name="kv_read", body=f"{ATTENTION}:emit_kv_read"),
    Kernel(fused_attention, NARROW, name="attention", body=f"{ATTENTION}:emit_fused_attention"),
    Kernel(rotary_table, frozenset({DType.I64}), name="rotary_table", body=f"{ROTARY}:emit_rotary_table"),
    Kernel(rotary_embedding, NARROW, name="rotary_embedding", body=f"{ROTARY}:emit_rotary_embedding"),
    Kernel(rotary_append, SINGLE, known_states, name="rotary_append", body=f"{ROTARY}:emit_rotary_append"),
)
