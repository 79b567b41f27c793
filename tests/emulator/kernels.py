# pyright: basic
"""Kernels for tests of the emulator, each with a fault or without."""

from __future__ import annotations

import os

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.common import start_next, wait_for_previous


@triton.jit
def doubled(x, y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    start_next(PDL)
    wait_for_previous(PDL)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < COUNT, other=0.0) * 2.0, mask=i < COUNT)


@triton.jit
def unmasked(x, y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """The last tile is written whole."""
    start_next(PDL)
    wait_for_previous(PDL)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < COUNT, other=0.0) * 2.0)


@triton.jit
def one_too_many(x, y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """It reads a number behind the last."""
    start_next(PDL)
    wait_for_previous(PDL)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i <= COUNT, other=0.0) * 2.0, mask=i < COUNT)


@triton.jit
def wide_stride(x, y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """Blocks stand at twice their distance."""
    start_next(PDL)
    wait_for_previous(PDL)
    i = tl.program_id(0) * BLOCK * 2 + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i >= 0, other=0.0) * 2.0, mask=i >= 0)


@triton.jit
def in_front(x, y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    start_next(PDL)
    wait_for_previous(PDL)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i - 1, tl.load(x + i, mask=i < COUNT, other=0.0), mask=i < COUNT)


@triton.jit
def too_early(x, y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """It reads what the launch before it writes, and waits afterwards."""
    start_next(PDL)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    xs = tl.load(x + i, mask=i < COUNT, other=0.0)
    wait_for_previous(PDL)
    tl.store(y + i, xs * 2.0, mask=i < COUNT)


@triton.jit
def never_waits(x, y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """It touches nothing, so that only the next launch would see that it did not wait."""
    start_next(PDL)


@triton.jit
def writes_its_input(x, y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    start_next(PDL)
    wait_for_previous(PDL)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + i, tl.load(y + i, mask=i < COUNT, other=0.0), mask=i < COUNT)


@triton.jit
def counts_in_its_input(x, y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    start_next(PDL)
    wait_for_previous(PDL)
    tl.atomic_add(x, 1.0)


@triton.jit
def counts(x, y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    start_next(PDL)
    wait_for_previous(PDL)
    tl.atomic_add(y, 1.0)


@triton.jit
def endless(x, y, COUNT, BLOCK: tl.constexpr, PDL: tl.constexpr):
    """As long as the number that it finds: which is poison."""
    start_next(PDL)
    wait_for_previous(PDL)
    left = COUNT
    while left > 0:
        left = left * 1


def deadly(x, y, COUNT, BLOCK, PDL):
    """No kernel, but what one does that takes the interpreter with it."""
    os._exit(7)


class _Launched:
    def __getitem__(self, grid):
        return deadly


dead = _Launched()
