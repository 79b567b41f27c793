# pyright: basic
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Causal convolution of each channel by itself, for one token as for many."""

from __future__ import annotations

import triton
import triton.language as tl

from graphwright.backends.cuda.kernels.common import start_next, wait_for_previous


@triton.jit
def state_or_input(state, x, rows, place, there, S, PAST: tl.constexpr):
    """What lies at the places of the state's PAST inputs and of the new ones behind them; zeros without a state."""
    found = tl.load(x + rows * S + place - PAST, mask=there & (place >= PAST) & (place < PAST + S), other=0.0)
    if state is not None:
        old = tl.load(state + rows * PAST + place, mask=there & (place < PAST), other=0.0)
        found = tl.where(place < PAST, old, found)
    return found


@triton.jit
def causal_conv(
    x,
    weight,
    bias,
    state,
    new_length,
    y,
    last,
    S,
    CHANNELS: tl.constexpr,
    WIDTH: tl.constexpr,
    DILATION: tl.constexpr,
    PADDED_PAST: tl.constexpr,
    BC: tl.constexpr,
    BT: tl.constexpr,
    PDL: tl.constexpr,
):
    """`causal_conv` of x [batch, CHANNELS, S] with weight [CHANNELS, 1, WIDTH]; bias, state, new_length may be None.

    BC channels of BT tokens a program: batch * ceil(CHANNELS / BC) * ceil(S / BT). Those of the first tokens also write
    the final state, the (WIDTH - 1) * DILATION last inputs.
    """
    start_next(PDL)
    wait_for_previous(PDL)
    PAST: tl.constexpr = (WIDTH - 1) * DILATION
    tiles = tl.cdiv(S, BT)
    blocks = tl.cdiv(CHANNELS, BC)
    b = tl.program_id(0) // (blocks * tiles)
    c = tl.program_id(0) // tiles % blocks * BC + tl.arange(0, BC)
    inside = (c < CHANNELS)[:, None]
    rows = (b * CHANNELS + c)[:, None].to(tl.int64)
    s = (tl.program_id(0) % tiles * BT + tl.arange(0, BT))[None, :]
    acc = tl.zeros((BC, BT), tl.float32)
    for w in range(WIDTH):
        column = tl.load(weight + c * WIDTH + w, mask=c < CHANNELS, other=0.0).to(tl.float32)
        acc += column[:, None] * state_or_input(state, x, rows, s + w * DILATION, inside, S, PAST).to(tl.float32)
    if bias is not None:
        acc += tl.load(bias + c, mask=c < CHANNELS, other=0.0).to(tl.float32)[:, None]
    tl.store(y + rows * S + s, acc.to(y.dtype.element_ty), mask=inside & (s < S))
    if tl.program_id(0) % tiles == 0:
        end = S if new_length is None else tl.minimum(tl.load(new_length + b), S)
        p = tl.arange(0, PADDED_PAST)[None, :]
        there = inside & (p < PAST)
        tl.store(last + rows * PAST + p, state_or_input(state, x, rows, end + p, there, S, PAST), mask=there)
