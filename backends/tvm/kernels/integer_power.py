# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Integers to the power of integers, which wrap around."""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.tvm_library import T


def integer_power(cpu: Cpu, *, element: str) -> Any:
    """(x [M], y [M], z [M]), all of the integer element type: z = x to the power y, by squaring.

    To a negative power 1 and -1 are what they should be, and all else is 0.
    """
    bits = int(element.lstrip("uint"))

    @T.prim_func(private=True, s_tir=True)
    def kernel(x_handle: T.handle, y_handle: T.handle, z_handle: T.handle):
        count = T.int32()
        x = T.match_buffer(x_handle, (count,), element)
        y = T.match_buffer(y_handle, (count,), element)
        z = T.match_buffer(z_handle, (count,), element)
        with T.sblock("root"):
            for i in T.parallel(count):
                with T.sblock("power"):
                    result = T.sblock_alloc_buffer((1,), element, scope="local")
                    factor = T.sblock_alloc_buffer((1,), element, scope="local")
                    result[0] = T.Cast(element, 1)
                    factor[0] = x[i]
                    for bit in range(bits):
                        if (y[i] >> T.Cast(element, bit)) & T.Cast(element, 1) == T.Cast(element, 1):
                            result[0] = result[0] * factor[0]
                        factor[0] = factor[0] * factor[0]
                    if y[i] < T.Cast(element, 0) and x[i] != T.Cast(element, 1) and x[i] != T.Cast(element, -1):
                        result[0] = T.Cast(element, 0)
                    z[i] = result[0]

    return kernel
