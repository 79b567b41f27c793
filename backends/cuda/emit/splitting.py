"""The memory in which the programs of a split product meet."""

from __future__ import annotations

from graphwright.backends.cuda.emit.emitter import Emitter
from graphwright.backends.cuda.library.splitting import COUNTERS
from graphwright.backends.plan import Buffer
from graphwright.ir.dims import Dim
from graphwright.ir.types import DType, TensorType

KERNELS = "graphwright.backends.cuda.kernels.splitting"


def split_memory(e: Emitter, splits: int, sums: Dim) -> dict[str, Buffer | None]:
    """Where so many numbers of each split go, `partial`, and the counters `arrived`; None both for one split.

    All products of a step share the counters, which the last program of each tile leaves as it found them: the first
    product clears them.
    """
    if splits == 1:
        return {"partial": None, "arrived": None}
    if e.counters is None:
        e.counters = e.temporary(TensorType(DType.I32, (Dim.of(COUNTERS),)))
        e.launch(f"{KERNELS}:clear_counters", 1, {"arrived": e.counters}, {}, {"COUNT": COUNTERS}, writes=("arrived",))
    return {"partial": e.temporary(TensorType(DType.F32, (Dim.of(splits), sums))), "arrived": e.counters}
