"""All planted faults. Those of passes before lowering were written before there was a checker to tune them to."""

from __future__ import annotations

from benchmarks.mutations.fault import Fault
from benchmarks.mutations.faults import (
    attention,
    caches,
    canonical,
    codes,
    lowering_cpu,
    lowering_cuda,
    lowering_ort,
    norms,
    projections,
    rotary,
)

FAULTS: tuple[Fault, ...] = (
    *canonical.FAULTS,
    *norms.FAULTS,
    *attention.FAULTS,
    *rotary.FAULTS,
    *projections.FAULTS,
    *caches.FAULTS,
    *codes.FAULTS,
    *lowering_ort.FAULTS,
    *lowering_cpu.FAULTS,
    *lowering_cuda.FAULTS,
)
