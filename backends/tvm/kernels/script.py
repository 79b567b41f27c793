"""Kernels written by calls: Python loops, conditions and functions shape the code that is emitted."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from graphwright.backends.tvm.tvm_library import IRBuilder, T, builder


def prim_func(body: Callable[[], None]) -> Any:
    """A private PrimFunc; `body` emits its parameters, by `tensor` and `rows_tensor`, and then a root block."""
    with IRBuilder() as script, builder.prim_func(is_private=True, s_tir=True):
        builder.func_name(body.__name__)
        body()
    return script.get()


def tensor(name: str, shape: Sequence[Any], dtype: str) -> Any:
    """A parameter of a shape that is known but for variables that stand in other parameters too."""
    pointer = builder.arg(name, T.handle())
    buffer = builder.match_buffer(pointer, tuple(shape), dtype, align=64)
    IRBuilder.name(name, buffer)
    return buffer


def variable(name: str) -> Any:
    """A length that the first tensor which has it gives."""
    length = T.int64()
    IRBuilder.name(name, length)
    return length


def root() -> Any:
    """The block whose body is the stages."""
    return builder.sblock("root")


def shared(name: str, shape: Sequence[Any], dtype: str) -> Any:
    """A buffer that stages hand on to each other; to be asked for in the root block."""
    buffer = builder.sblock_alloc_buffer(tuple(shape), dtype)
    IRBuilder.name(name, buffer)
    return buffer


def local(name: str, shape: Sequence[int], dtype: str) -> Any:
    """Scratch of one iteration on the stack, or registers where all indices are known."""
    # Of scope "local" it would be taken from the heap.
    buffer = builder.sblock_alloc_buffer(tuple(shape), dtype)
    IRBuilder.name(name, buffer)
    return buffer


@contextmanager
def iteration(
    name: str, loop: Any, extent: Any, reads: Sequence[Any], writes: Sequence[Any]
) -> Generator[Any, None, None]:
    """A loop with a block in it, which touches the given buffers somewhere; yields the iteration's number."""
    with loop as index, builder.sblock(name):
        number = builder.axis.spatial(extent, index)
        builder.reads(*map(_whole, reads))
        builder.writes(*map(_whole, writes))
        yield number


def _whole(buffer: Any) -> Any:
    return buffer[tuple(slice(0, length) for length in buffer.shape)]


@contextmanager
def when(condition: Any) -> Generator[None, None, None]:
    """What is emitted runs where the condition holds."""
    with builder.If(condition), builder.Then():
        yield


def unrolled(count: int) -> Any:
    """A loop that is spelt out, after TVM's analyses have seen it as a loop."""
    return builder.unroll(count)


def store(buffer: Any, value: Any, *indices: Any) -> None:
    """buffer[indices] = value."""
    builder.buffer_store(buffer, value, list(indices))


def lanes(start: Any, count: int) -> Any:
    """The index of so many neighbours."""
    return T.ramp(start, 1, count)


def spread(value: Any, count: int) -> Any:
    """A vector of one number."""
    return T.broadcast(value, count)
