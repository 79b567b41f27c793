"""Kernels that carry a state along the tokens, and of running sums."""

from __future__ import annotations

from graphwright.backends.kernel_library import Kernel
from graphwright.backends.tvm.library.conditions import FLOATS, NARROW
from graphwright.ir import ops
from graphwright.ir.dialects.cpu.memory import STORED

BODIES = "graphwright.backends.tvm.emit.recurrence"

KERNELS = (
    Kernel(ops.causal_conv, FLOATS, name="causal_conv", body=f"{BODIES}:emit_causal_conv"),
    Kernel(ops.cumsum, STORED, name="cumsum", body=f"{BODIES}:emit_cumsum"),
    Kernel(ops.running_sum, STORED, name="running_sum", body=f"{BODIES}:emit_running_sum"),
    Kernel(ops.linear_recurrence, NARROW, name="linear_recurrence", body=f"{BODIES}:emit_linear_recurrence"),
    Kernel(ops.weighted_mean, NARROW, name="weighted_mean", body=f"{BODIES}:emit_weighted_mean"),
)
