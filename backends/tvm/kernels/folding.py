"""A vector's lanes folded to one number."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.kernels.fast_math import let
from graphwright.backends.tvm.tvm_library import T, tirx


def folded(vector: Any, lanes: int, of: Any) -> Any:
    """One number of a vector's lanes, by halves."""
    if lanes == 1:
        return vector
    half = lanes // 2

    def halves(v: Any) -> Any:
        return of(tirx.Shuffle([v], list(range(half))), tirx.Shuffle([v], list(range(half, lanes))))

    return let(vector, lambda v: folded(halves(v), half, of))


def larger(a: Any, b: Any) -> Any:
    return let(a, lambda a: let(b, lambda b: T.Select(a > b, a, b)))
