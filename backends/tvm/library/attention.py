"""Kernels of attention, of the caches that it reads and of rotary embedding."""

from graphwright.backends.kernel_library import Kernel
from graphwright.backends.tvm.library.choices import ATTENTION as CHOICES
from graphwright.backends.tvm.library.choices import SMALL
from graphwright.backends.tvm.library.conditions import NARROW, SINGLE, known_states
from graphwright.ir import ops
from graphwright.ir.dialects.cpu.attention import fused_attention
from graphwright.ir.dialects.cpu.memory import STORED
from graphwright.ir.dialects.cpu.rotary import rotary_append, rotary_embedding, rotary_table
from graphwright.ir.types import DType

ATTENTION = "graphwright.backends.tvm.emit.attention"
ROTARY = "graphwright.backends.tvm.emit.rotary"
POSITIONS = frozenset({DType.I64})

KERNELS = (
    Kernel(ops.kv_append, STORED, name="kv_append", body=f"{ATTENTION}:emit_kv_append", choices=SMALL),
    Kernel(ops.kv_read, STORED, name="kv_read", body=f"{ATTENTION}:emit_kv_read"),
    Kernel(fused_attention, NARROW, name="attention", body=f"{ATTENTION}:emit_fused_attention", choices=CHOICES),
    Kernel(rotary_table, POSITIONS, name="rotary_table", body=f"{ROTARY}:emit_rotary_table", choices=SMALL),
    Kernel(rotary_embedding, NARROW, name="rotary_embedding", body=f"{ROTARY}:emit_rotary_embedding", choices=SMALL),
    Kernel(
        rotary_append, SINGLE, known_states, name="rotary_append", body=f"{ROTARY}:emit_rotary_append", choices=SMALL
    ),
)
