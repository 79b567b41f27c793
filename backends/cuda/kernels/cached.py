# pyright: basic, reportOperatorIssue=false
# Triton compiles or interprets these functions; their parameters have the types that a launch gives them.
"""Keys and values in caches of codes: signed bytes, which a scale makes numbers.

A scale has a SHARE: "tensor" is one number for all of a cache, "channel" one for each channel of a head of keys,
"token" one for each token of it; None says that caches hold numbers. Those of channels and tensors multiply sums,
queries before and values after, so that a product reads codes as they are, which every type of floats has exactly. What
a token is multiplied by goes to its codes in registers: a probability times a small scale could fall below a float16's
range.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def factors(scale, h, i, SIZE: tl.constexpr, SHARE: tl.constexpr):
    """What the channels i of a head of keys are multiplied by; 1 where tokens are, or nothing is."""
    one = tl.full((i.shape[0],), 1.0, tl.float32)
    if SHARE == "channel":
        one = tl.load(scale + h * SIZE + i, mask=i < SIZE, other=1.0)
    if SHARE == "tensor":
        one = one * tl.load(scale)
    return one


@triton.jit
def held(cache, scale, head, at, there, i, C, SIZE: tl.constexpr, SHARE: tl.constexpr, dtype: tl.constexpr):
    """Tokens [N, size] of a head's cache, at places `at`; zeros where they are not there. `head` counts rows too.

    Numbers, or codes that `factors` still multiply.
    """
    places = cache + head * C * SIZE + at[:, None] * SIZE + i[None, :]
    x = tl.load(places, mask=there[:, None] & (i < SIZE)[None, :], other=0)
    if SHARE == "token":
        x = x.to(tl.float32) * tl.load(scale + head * C + at, mask=there, other=0.0)[:, None]
    return x.to(dtype)


@triton.jit
def token_scales(x):
    """The scale of each row of x with which its largest number is a code, at least the smallest normal number."""
    return tl.maximum(tl.max(tl.abs(x.to(tl.float32)), 1) * (1 / 127), 1.1754943508222875e-38)


@triton.jit
def encoded(x, scale):
    """The codes of x / scale, as `quantize_tensor` has them: by the reciprocal, ties to even, cut off at the ends."""
    units = x.to(tl.float32) * tl.div_rn(tl.full(scale.shape, 1.0, tl.float32), scale)
    units = tl.minimum(tl.maximum(units, -128.0), 127.0)
    # Nothing behind the point is left of a sum as large as this one.
    return (units + 12582912.0 - 12582912.0).to(tl.int8)
