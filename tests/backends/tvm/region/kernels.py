# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Small kernels that the region's tests take apart."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import GENERIC
from graphwright.backends.tvm.region.kernel_code import flatten
from graphwright.backends.tvm.region.stages import Kernel, split_kernel
from graphwright.backends.tvm.tvm_library import T, llvm_target, tirx, tvm


def split(name: str, function: Any) -> Kernel:
    """The stages of a kernel as it is written."""
    (flat,) = flatten(tvm.IRModule({name: function}), llvm_target(GENERIC)).functions.values()
    return split_kernel(name, flat)


@T.prim_func(private=True, s_tir=True)
def three_stages(x_handle: T.handle, y_handle: T.handle):
    """A parallel stage into scratch, a serial one on it, a parallel one that reads both."""
    rows = T.int64()
    x = T.match_buffer(x_handle, (rows, 8), "float32")
    y = T.match_buffer(y_handle, (rows, 8), "float32")
    with T.sblock("root"):
        doubled = T.sblock_alloc_buffer((rows, 8), "float32")
        largest = T.sblock_alloc_buffer((1,), "float32")
        for row in T.parallel(rows):
            with T.sblock("double"):
                for i in range(8):
                    doubled[row, i] = x[row, i] + x[row, i]
        with T.sblock("largest"):
            largest[0] = T.float32(0)
            for row in range(rows):
                largest[0] = T.max(largest[0], doubled[row, 0])
        for row in T.parallel(rows):
            with T.sblock("scale"):
                for i in range(8):
                    y[row, i] = doubled[row, i] * largest[0]


@T.prim_func(private=True, s_tir=True)
def value_bound_at_the_top(x: T.Buffer((8,), "float32"), count: T.Buffer((1,), "int32"), y: T.Buffer((8,), "float32")):
    with T.sblock("root"):
        known: T.let[T.int32] = count[0]
        for i in T.parallel(8):
            with T.sblock("copy"):
                y[i] = x[T.min(i, known)]


@T.prim_func(private=True, s_tir=True)
def value_bound_between(x: T.Buffer((8,), "float32"), count: T.Buffer((1,), "int32"), y: T.Buffer((8,), "float32")):
    with T.sblock("root"):
        count[0] = count[0] + 1
        known: T.let[T.int32] = count[0]
        y[0] = x[known]
        y[1] = x[1]


SHARED = tirx.Var("shared", "float32")


def squared(x: Any) -> Any:
    return tirx.Let(SHARED, x, SHARED * SHARED)


@T.prim_func(private=True, s_tir=True, check_well_formed=False)
def one_variable_twice(x: T.Buffer((8,), "float32"), y: T.Buffer((8,), "float32")):
    with T.sblock("root"):
        y[0] = squared(x[0])
        y[1] = squared(x[1])


@T.prim_func(private=True, s_tir=True)
def parallel_below(x_handle: T.handle, y_handle: T.handle):
    rows = T.int64()
    x = T.match_buffer(x_handle, (rows, 8), "float32")
    y = T.match_buffer(y_handle, (rows, 8), "float32")
    with T.sblock("root"):
        for row in range(rows):
            for i in T.parallel(8):
                with T.sblock("copy"):
                    y[row, i] = x[row, i]


@T.prim_func(private=True, s_tir=True)
def parallel_within(x_handle: T.handle, y_handle: T.handle):
    rows = T.int64()
    x = T.match_buffer(x_handle, (rows, 8), "float32")
    y = T.match_buffer(y_handle, (rows, 8), "float32")
    with T.sblock("root"):
        for row in T.parallel(rows):
            for i in T.parallel(8):
                with T.sblock("copy"):
                    y[row, i] = x[row, i]


@T.prim_func(private=True, s_tir=True)
def alternatives(x_handle: T.handle, y_handle: T.handle):
    """One of three stages, by the number of rows, and one that always runs."""
    rows = T.int64()
    x = T.match_buffer(x_handle, (rows, 8), "float32")
    y = T.match_buffer(y_handle, (rows, 8), "float32")
    with T.sblock("root"):
        if rows == 1:
            for i in T.parallel(8):
                with T.sblock("one"):
                    y[0, i] = x[0, i]
        elif rows == 2:
            for i in T.parallel(8):
                with T.sblock("two"):
                    y[1, i] = x[1, i] + x[0, i]
        else:
            for row in T.parallel(rows):
                with T.sblock("many"):
                    for i in range(8):
                        y[row, i] = x[row, i]
        for i in T.parallel(8):
            with T.sblock("always"):
                y[0, i] = y[0, i] * T.float32(2)
