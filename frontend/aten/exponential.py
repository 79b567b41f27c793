"""Exponentials and logarithms near their fixed points, and activations made of them."""

import math

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Site
from graphwright.ir import Value, ops


@aten("expm1")
def import_expm1(site: Site, x: Value) -> Imported:
    return _exponential_less_one(site, site.cast(x, site.type.dtype))


@aten("elu")
def import_elu(site: Site, x: Value, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Imported:
    dtype = x.tensor.dtype
    below = _exponential_less_one(site, x if input_scale == 1 else site.binary(ops.mul, x, input_scale, dtype))
    below = below if alpha * scale == 1 else site.binary(ops.mul, below, alpha * scale, dtype)
    above = x if scale == 1 else site.binary(ops.mul, x, scale, dtype)
    return site.build(ops.where, site.build(ops.gt, x, 0.0), above, below)


@aten("exp2")
def import_exp2(site: Site, x: Value) -> Imported:
    return site.binary(ops.pow, 2.0, x, site.type.dtype)


@aten("log2")
def import_log2(site: Site, x: Value) -> Imported:
    return _logarithm(site, x, 2.0)


@aten("log10")
def import_log10(site: Site, x: Value) -> Imported:
    return _logarithm(site, x, 10.0)


@aten("tan")
def import_tan(site: Site, x: Value) -> Imported:
    x = site.cast(x, site.type.dtype)
    return site.build(ops.div, site.build(ops.sin, x), site.build(ops.cos, x))


@aten("cosh")
def import_cosh(site: Site, x: Value) -> Imported:
    x = site.cast(x, site.type.dtype)
    both = site.build(ops.add, site.build(ops.exp, x), site.build(ops.exp, site.build(ops.neg, x)))
    return site.build(ops.mul, both, 0.5)


def _logarithm(site: Site, x: Value, base: float) -> Value:
    logarithm = site.build(ops.log, site.cast(x, site.type.dtype))
    return site.binary(ops.div, logarithm, math.log(base), site.type.dtype)


def _exponential_less_one(site: Site, x: Value) -> Value:
    """exp(x) - 1 without cancellation: (u - 1) x / log(u) at the rounded u = exp(x) (Higham 2002, section 1.14.1)."""
    u = site.build(ops.exp, x)
    less = site.build(ops.sub, u, 1.0)
    exact = site.build(ops.mul, less, site.build(ops.div, x, site.build(ops.log, u)))
    result = site.build(ops.where, site.build(ops.eq, u, 1.0), x, exact)
    # At both ends log(u) says nothing any more.
    ended = site.build(ops.logical_or, site.build(ops.eq, less, -1.0), site.build(ops.eq, u, math.inf))
    return site.build(ops.where, ended, less, result)
