"""The lowering passes for the CPU's kernels in order."""

from __future__ import annotations

from graphwright.ir.targets import Target
from graphwright.passes.base import Pass
from graphwright.passes.lowering.cpu.add_norms import FuseAddNorms
from graphwright.passes.lowering.cpu.attention import FuseAttention
from graphwright.passes.lowering.cpu.bf16_linear import RoundToBF16InProducts
from graphwright.passes.lowering.cpu.copies import CopyToOwnMemory
from graphwright.passes.lowering.cpu.gated_columns import FuseGatedColumns
from graphwright.passes.lowering.cpu.heads_as_views import HeadsAsViews
from graphwright.passes.lowering.cpu.packed_caches import PackCaches
from graphwright.passes.lowering.cpu.rotary_append import FuseRotaryAppend
from graphwright.passes.lowering.cpu.rotary_tables import RotaryByTables
from graphwright.passes.lowering.cpu.rounded_linear import RoundInProducts
from graphwright.passes.lowering.cpu.stored_weights import WeightsMadeWhenWritten


def cpu_lowering(target: Target) -> tuple[Pass, ...]:
    """The passes down to what the kernels of a CPU take, which `target` tells."""
    return (
        WeightsMadeWhenWritten(target),  # first: products see the weights that they read
        RoundInProducts(target),
        RoundToBF16InProducts(target),
        RotaryByTables(target),
        PackCaches(target),  # before attention, which reads packed caches
        FuseAttention(target),
        # Behind both: it takes in what is turned by tables, and rounding that nothing else reads.
        FuseRotaryAppend(target),
        FuseGatedColumns(target),
        FuseAddNorms(target),
        HeadsAsViews(target),  # behind those that take heads in
        CopyToOwnMemory(target),  # last: it looks at whose memory a value lies in
    )
