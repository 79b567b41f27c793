"""The lowering passes for the CPU's kernels in order."""

from __future__ import annotations

from graphwright.passes.base import Pass
from graphwright.passes.lowering.cpu.add_norms import FuseAddNorms
from graphwright.passes.lowering.cpu.attention import FuseAttention
from graphwright.passes.lowering.cpu.copies import CopyToOwnMemory
from graphwright.passes.lowering.cpu.gated_columns import FuseGatedColumns
from graphwright.passes.lowering.cpu.heads_as_views import HeadsAsViews
from graphwright.passes.lowering.cpu.rotary_append import FuseRotaryAppend
from graphwright.passes.lowering.cpu.rotary_tables import RotaryByTables
from graphwright.passes.lowering.cpu.rounded_linear import RoundInProducts
from graphwright.passes.lowering.cpu.stored_weights import WeightsMadeWhenWritten

CPU: tuple[Pass, ...] = (
    WeightsMadeWhenWritten(),  # first: products see the weights that they read
    RoundInProducts(),
    RotaryByTables(),
    FuseAttention(),
    FuseRotaryAppend(),  # behind both: it takes in what is turned by tables, and rounding that nothing else reads
    FuseGatedColumns(),
    FuseAddNorms(),
    HeadsAsViews(),  # behind those that take heads in
    CopyToOwnMemory(),  # last: it looks at whose memory a value lies in
)
