"""The lowering passes for a GPU's kernels in order."""

from __future__ import annotations

from graphwright.ir.targets import Target
from graphwright.passes.base import Pass
from graphwright.passes.lowering.cuda.append_attention import AppendAttention
from graphwright.passes.lowering.cuda.choose_tokens import ChooseTokens
from graphwright.passes.lowering.cuda.linears import FuseLinears
from graphwright.passes.lowering.cuda.shared import (
    CudaAttention,
    CudaCopies,
    CudaHeadsAsViews,
    CudaRotaryAppend,
    CudaRotaryByTables,
)
from graphwright.passes.lowering.cuda.split_attention import SplitAttention


def cuda_lowering(target: Target) -> tuple[Pass, ...]:
    """The passes down to what the kernels of a GPU take, which `target` tells."""
    return (
        CudaRotaryByTables(target),
        CudaAttention(target),
        SplitAttention(target),
        CudaRotaryAppend(target),
        AppendAttention(target),
        FuseLinears(target),
        ChooseTokens(target),
        CudaHeadsAsViews(target),  # behind those that take heads in
        CudaCopies(target),  # last: it looks at whose memory a value lies in
    )
