# pyright: basic
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Sums over a long axis by several programs, of which the last to arrive adds up what all have found.

Which one that is changes from run to run, what it adds and in which order does not: results are the same each time.
"""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.common import start_next, wait_for_previous


@triton.jit
def only_if(inside, condition):
    """A mask, or nothing of it. The interpreter cannot spread a scalar condition over a tensor, but a number."""
    return inside & (inside.to(tl.int32) + condition.to(tl.int32) == 2)


@triton.jit
def put_sums(sums, partial, split, SIZE, places, inside):
    """Leaves the sums of a split where the last program finds them: at places of SIZE numbers, in float32."""
    tl.store(partial + split * SIZE + places, sums, mask=inside)


@triton.jit
def is_last(arrived, tile, SPLITS: tl.constexpr):
    """Whether all other programs of the tile have put their sums. The counter is 0 again for the next launch."""
    # All threads have stored before one of them tells it, and load after it was told.
    tl.debug_barrier()
    before = tl.atomic_add(arrived + tile, 1, sem="acq_rel", scope="gpu")
    last = before == SPLITS - 1
    tl.store(arrived + tile, 0, mask=last)
    return last


@triton.jit
def added_up(zeros, partial, SIZE, places, inside, SPLITS: tl.constexpr):
    """What all splits have put, the first one first. `zeros` has the shape of the sums."""
    total = zeros
    for split in range(SPLITS):
        # Past the cache of one multiprocessor: others have written it.
        total += tl.load(partial + split * SIZE + places, mask=inside, other=0.0, cache_modifier=".cg")
    return total


@triton.jit
def clear_counters(arrived, COUNT: tl.constexpr, PDL: tl.constexpr):
    """No program has arrived anywhere. One program; COUNT is a power of two."""
    start_next(PDL)
    wait_for_previous(PDL)
    i = tl.arange(0, COUNT)
    tl.store(arrived + i, tl.zeros((COUNT,), tl.int32))
