"""Rounding, signs, remainders and tests of numbers, out of `floor` and comparisons."""

import math

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Operand, Site
from graphwright.ir import DType, Value, ops


@aten("ceil")
def import_ceil(site: Site, x: Value) -> Imported:
    return _ceil(site, x) if x.tensor.dtype.is_float else x


@aten("trunc", "fix")
def import_trunc(site: Site, x: Value) -> Imported:
    return truncated(site, x)


@aten("round")
def import_round(site: Site, x: Value) -> Imported:
    """To the nearest integer, halves to the even one. What is left after `floor` is exact, so the test is too."""
    if not x.tensor.dtype.is_float:
        return x
    below = site.build(ops.floor, x)
    rest = site.build(ops.sub, x, below)
    odd = site.build(ops.ne, site.build(ops.remainder, below, 2.0), 0.0)
    half_of_odd = site.build(ops.logical_and, site.build(ops.eq, rest, 0.5), odd)
    up = site.build(ops.logical_or, site.build(ops.gt, rest, 0.5), half_of_odd)
    return site.build(ops.where, up, site.build(ops.add, below, 1.0), below)


@aten("sign", "sgn")
def import_sign(site: Site, x: Value) -> Imported:
    zero = site.value(0, x.tensor.dtype)
    above, below = (site.cast(site.build(c, x, zero), x.tensor.dtype) for c in (ops.gt, ops.lt))
    return site.build(ops.sub, above, below)


@aten("fmod.Tensor", "fmod.Scalar")
def import_fmod(site: Site, x: Operand, y: Operand) -> Imported:
    quotient = truncated_quotient(site, x, y)
    return site.binary(ops.sub, x, site.binary(ops.mul, quotient, y, site.type.dtype), site.type.dtype)


@aten("isnan")
def import_isnan(site: Site, x: Value) -> Imported:
    return site.build(ops.ne, x, x)


@aten("isinf")
def import_isinf(site: Site, x: Value) -> Imported:
    if not x.tensor.dtype.is_float:
        return site.full(False, x.tensor.shape, DType.BOOL)
    return site.build(ops.eq, site.build(ops.abs, x), math.inf)


def truncated_quotient(site: Site, x: Operand, y: Operand) -> Value:
    """x / y rounded towards zero. The IR's division of integers rounds down, so theirs is of absolute values."""
    dtype = site.type.dtype
    if dtype.is_float:
        return truncated(site, site.binary(ops.div, x, y, dtype))
    a, b = site.value(x, dtype), site.value(y, dtype)
    size = site.build(ops.div, site.build(ops.abs, a), site.build(ops.abs, b))
    zero = site.value(0, dtype)
    opposite = site.build(ops.ne, site.build(ops.lt, a, zero), site.build(ops.lt, b, zero))
    return site.build(ops.where, opposite, site.build(ops.neg, size), size)


def truncated(site: Site, x: Value) -> Value:
    if not x.tensor.dtype.is_float:
        return x
    return site.build(ops.where, site.build(ops.lt, x, 0.0), _ceil(site, x), site.build(ops.floor, x))


def _ceil(site: Site, x: Value) -> Value:
    return site.build(ops.neg, site.build(ops.floor, site.build(ops.neg, x)))
