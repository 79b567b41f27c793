"""The kernels that a GPU's threads run: those of the CPU whose iterations need no vectors and no layout of weights.

As declarations they need no TVM.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphwright.backends.kernel_library import Choice, Kernel, KernelLibrary
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.library.conditions import FLOATS
from graphwright.backends.tvm.library.kernels import KERNELS as CPU_KERNELS
from graphwright.ir.dialects.cpu.attention import fused_attention as cpu_attention
from graphwright.ir.dialects.cpu.rotary import rotary_append as cpu_rotary_append
from graphwright.ir.dialects.cpu.rotary import rotary_embedding as cpu_rotary_embedding
from graphwright.ir.dialects.cpu.rotary import rotary_table as cpu_rotary_table
from graphwright.ir.dialects.cuda.attention import fused_attention
from graphwright.ir.dialects.cuda.rotary import rotary_append, rotary_embedding, rotary_table


@dataclass(frozen=True)
class Thread(Cpu):
    """One thread of a GPU: it has no vectors. What it runs on a CPU needs none of its features."""

    @property
    def float_lanes(self) -> int:
        return 1


THREAD = Thread("generic")
LOOPS = {
    "small": Choice("small", (0,), 0, "numbers of a stage up to which one thread goes through them"),
    "columns": Choice("columns", (1,), 1, "columns of a row that are one iteration"),
    "serial": Choice("serial", (0,), 0, "numbers of a result up to which one thread computes it"),
    "stretch": Choice("stretch", (1,), 1, "neighbours along the innermost axis that are one iteration"),
    "rows": Choice("rows", (1,), 1, "rows of a weight that are multiplied side by side"),
    "block": Choice("block", (1,), 1, "vectors of columns whose sums stay in registers"),
}
"""Each iteration is a thread's, whatever there is to do: neighbours read and write neighbouring numbers."""
ATTENTION = {
    "rows": Choice("rows", (1,), 1, "about so many rows of queries and heads share a block of keys"),
    "tile_rows": Choice("tile_rows", (1,), 1, "most rows whose sums are in registers at once"),
    "tile_vectors": Choice("tile_vectors", (4,), 4, "scores of each of those rows"),
    "value_vectors": Choice("value_vectors", (16,), 16, "most values that are summed at once"),
    "keys": Choice("keys", (32,), 32, "most keys of a block"),
}
"""A thread takes a row of queries: its scores and values fit the local memory of one."""
GPU_OPS = {
    cpu_attention: fused_attention,
    cpu_rotary_append: rotary_append,
    cpu_rotary_embedding: rotary_embedding,
    cpu_rotary_table: rotary_table,
}
"""Ops of the CPU's dialect, and what the GPU's calls them."""
BY_LOOPS = {"matmul_by_loops", "linear_by_loops"}
"""A thread for each number of a product; those with vectors have a thread for each row."""
REPLACED = {"matmul", "linear_of_tensors"}


def _for_threads(kernel: Kernel) -> Kernel:
    known = ATTENTION if kernel.op is cpu_attention else LOOPS
    choices = tuple(known.get(choice.name, choice) for choice in kernel.choices)
    return replace(
        kernel,
        op=GPU_OPS.get(kernel.op, kernel.op),
        dtypes=FLOATS if kernel.name in BY_LOOPS else kernel.dtypes,
        choices=choices,
    )


KERNELS = tuple(_for_threads(k) for k in CPU_KERNELS if not k.layouts and k.name not in REPLACED)
LIBRARY = KernelLibrary("gpu threads", THREAD, KERNELS)
