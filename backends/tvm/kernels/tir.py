"""What kernels are written with: vectors, loops, scratch on the stack, operands that only some forms have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.fast_math import let
from graphwright.backends.tvm.tvm_library import T, tirx, tvm


def lanes_within(cpu: Cpu, size: int) -> int:
    """The widest vector of float32, a power of two, that divides rows of that size."""
    lanes = cpu.float_lanes
    while size % lanes:
        lanes //= 2
    return lanes


def span(start: Any, lanes: int) -> Any:
    """The index of so many neighbours."""
    return T.ramp(start, 1, lanes) if lanes > 1 else start


def within(*row: Any, offset: Any = None) -> Callable[[Any], tuple[Any, ...]]:
    """Of places in a row the index in a buffer whose last axis holds it, from an offset on."""
    return lambda place: (*row, place if offset is None else offset + place)


def filled(value: Any, lanes: int) -> Any:
    """A vector of one float32; a number where there is one lane."""
    scalar = T.float32(value) if isinstance(value, int | float) else value
    return T.broadcast(scalar, lanes) if lanes > 1 else scalar


def stage_loop(settings: Settings, rows: int | None, elements: int) -> Any:
    """The loop of a stage over rows of so many elements each: parallel, unless it is known to be small.

    One thread has passed through few elements before another has seen the barrier.
    """
    return T.serial if rows is not None and rows * elements <= settings["small"] else T.parallel


def tree_sum(terms: list[Any]) -> Any:
    """The sum of the terms, by halves: as exact as it is fast."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return tree_sum(terms[:half]) + tree_sum(terms[half:])


def local_buffer(*shape: int, element: str = "float32") -> Any:
    """A buffer on the stack, or in registers where all its indices are known, of the block that is being written.

    Without the annotation TVM takes scratch of this scope, and all of 1 KiB or more, from a pool: a call each time, and
    never registers.
    """
    return T.alloc_buffer(shape, element, scope="local", annotations={"disable_lower_builtin": True})


def matched_if(there: bool, handle: Any, shape: tuple[Any, ...], element: str = "float32") -> Any:
    """The buffer of a handle, or None where the form has no such operand."""
    return T.match_buffer(handle, shape, element) if there else None


def kept(kernel: Any) -> Any:
    """The kernel without the parameters that were matched with no buffer."""
    parameters = [p for p in kernel.params if not isinstance(p.ty, tvm.ir.PointerType)]
    return tirx.PrimFunc(parameters, kernel.body, kernel.ret_type, kernel.attrs)


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


def transposed(vectors: Sequence[Any]) -> list[Any]:
    """The columns of as many vectors as they have lanes, a power of two; written into the script that calls.

    Each step interleaves the vectors of the first half with those of the second (a perfect shuffle; Stone 1971); after
    log2(lanes) steps they are turned.
    """
    lanes = len(vectors)
    low = [i // 2 + i % 2 * lanes for i in range(lanes)]
    high = [lanes // 2 + i for i in low]
    turned = [T.Bind(vector) for vector in vectors]
    for _ in range(lanes.bit_length() - 1):
        pairs = list(zip(turned[: lanes // 2], turned[lanes // 2 :], strict=True))
        turned = [T.Bind(tirx.Shuffle(pair, indices)) for pair in map(list, pairs) for indices in (low, high)]
    return turned
