"""Kernels that take each row of the last axis by itself: norms, activations, gated units."""

from graphwright.backends.kernel_library import Kernel
from graphwright.backends.tvm.library.choices import LOOPS, ROWS, SMALL
from graphwright.backends.tvm.library.conditions import NARROW, SINGLE, fixed_rows
from graphwright.ir import ops
from graphwright.ir.dialects.cpu.columns import gated_columns
from graphwright.ir.dialects.cpu.norms import add_layer_norm, add_rms_norm

BODIES = "graphwright.backends.tvm.emit.neural"

KERNELS = (
    Kernel(ops.rms_norm, NARROW, fixed_rows, name="rms_norm", body=f"{BODIES}:emit_rms_norm", choices=SMALL),
    Kernel(ops.layer_norm, NARROW, fixed_rows, name="layer_norm", body=f"{BODIES}:emit_layer_norm", choices=SMALL),
    Kernel(add_rms_norm, SINGLE, name="add_rms_norm", body=f"{BODIES}:emit_add_rms_norm", choices=SMALL),
    Kernel(add_layer_norm, SINGLE, name="add_layer_norm", body=f"{BODIES}:emit_add_layer_norm", choices=SMALL),
    Kernel(gated_columns, SINGLE, name="gated_columns", body=f"{BODIES}:emit_gated_columns", choices=ROWS),
    *(
        kernel
        for op in (ops.glu, ops.activation, ops.softcap)
        for kernel in (
            Kernel(op, NARROW, fixed_rows, name=op.name, body=f"{BODIES}:emit_rows", choices=ROWS),
            Kernel(op, NARROW, name=f"{op.name}_by_loops", body=f"{BODIES}:emit_{op.name}_by_loops", choices=LOOPS),
        )
    ),
)
