"""Arithmetic as the IR's references have it, on expressions of one number: NaN, infinities, signs, division.

Operands are of one type, and no narrower float than float32.
"""

from collections.abc import Callable
from typing import Any

from graphwright.backends.tvm.kernels import fast_math
from graphwright.backends.tvm.kernels.fast_math import let
from graphwright.backends.tvm.tvm_library import tirx


def is_float(x: Any) -> bool:
    return str(x.ty.dtype).startswith("float")


def is_bool(x: Any) -> bool:
    return str(x.ty.dtype) == "bool"


def constant(value: float, like: Any) -> Any:
    """A number of the type of an expression."""
    return tirx.const(value, like.ty.dtype)


def is_nan(x: Any) -> Any:
    """By its bits: x != x is simplified away."""
    if str(x.ty.dtype) == "float32":
        return fast_math.is_nan(x)
    bits = tirx.reinterpret("int64", x) & tirx.const((1 << 63) - 1, "int64")
    return bits > tirx.const(0x7FF << 52, "int64")


def not_equal(x: Any, y: Any) -> Any:
    """TVM's own says that NaN equals everything."""
    different = tirx.NE(x, y)
    return tirx.any(different, is_nan(x), is_nan(y)) if is_float(x) else different


def maximum(x: Any, y: Any) -> Any:
    """NaN where one is."""
    if is_bool(x):
        return tirx.Or(x, y)
    if not is_float(x):
        return tirx.max(x, y)
    return let(x, lambda x: let(y, lambda y: tirx.Select(tirx.any(x > y, is_nan(x)), x, y)))


def minimum(x: Any, y: Any) -> Any:
    """NaN where one is."""
    if is_bool(x):
        return tirx.And(x, y)
    if not is_float(x):
        return tirx.min(x, y)
    return let(x, lambda x: let(y, lambda y: tirx.Select(tirx.any(x < y, is_nan(x)), x, y)))


def add(x: Any, y: Any) -> Any:
    return tirx.Or(x, y) if is_bool(x) else x + y


def multiply(x: Any, y: Any) -> Any:
    return tirx.And(x, y) if is_bool(x) else x * y


def divide(x: Any, y: Any) -> Any:
    """Integers round down; by zero they give an arbitrary number, not a signal that ends the process."""
    return x / y if is_float(x) else tirx.floordiv(x, _divisor(y))


def remainder(x: Any, y: Any) -> Any:
    """With the sign of y."""
    if not is_float(x):
        return tirx.floormod(x, _divisor(y))

    def signed(rest: Any) -> Any:
        zero = constant(0, rest)
        other = tirx.any(tirx.all(rest < zero, y > zero), tirx.all(rest > zero, y < zero))
        return tirx.Select(other, rest + y, rest)

    return let(y, lambda y: let(library("fmod", x, y), signed))


def _divisor(y: Any) -> Any:
    return let(y, lambda y: tirx.Select(tirx.EQ(y, constant(0, y)), constant(1, y), y))


def library(name: str, *x: Any) -> Any:
    """A function of the mathematics library."""
    dtype = x[0].ty.dtype
    return tirx.call_pure_extern(dtype, f"{name}f" if str(dtype) == "float32" else name, *x)


def exact(single: Callable[[Any], Any], double: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of one number by its own code for float32, by another for float64."""
    return lambda x: single(x) if str(x.ty.dtype) == "float32" else double(x)


exp = exact(fast_math.exp, tirx.exp)
tanh = exact(fast_math.tanh, lambda x: library("tanh", x))
erf = exact(fast_math.erf, lambda x: library("erf", x))
sigmoid = exact(fast_math.sigmoid, lambda x: constant(1, x) / (constant(1, x) + tirx.exp(-x)))


def converted(x: Any, dtype: str) -> Any:
    """A number as another type; anything but 0 is true."""
    if dtype == "bool" and not is_bool(x):
        return not_equal(x, constant(0, x))
    return x.astype(dtype)
