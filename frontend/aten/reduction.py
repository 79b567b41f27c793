"""Sums, means, extremes, softmax and running sums."""

from collections.abc import Sequence

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Site
from graphwright.ir import DType, Value, ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dims import product

Axes = int | Sequence[int] | None


def _axes(x: Value, dim: Axes) -> tuple[int, ...]:
    """The axes to reduce, from the front; no axis named means all of them."""
    named = [dim] if isinstance(dim, int) else list(dim or ())
    return tuple(sorted(d % x.tensor.rank for d in named)) if named else tuple(range(x.tensor.rank))


def _reduce(site: Site, definition: OpDef, x: Value, dim: Axes, keepdim: bool) -> Value:
    return site.build(definition, x, axes=_axes(x, dim), keepdims=keepdim) if x.tensor.rank else x


@aten("sum", "sum.dim_IntList")
def import_sum(site: Site, x: Value, dim: Axes = None, keepdim: bool = False, dtype: object = None) -> Imported:
    return _reduce(site, ops.sum, site.cast(x, site.type.dtype), dim, keepdim)


@aten("mean", "mean.dim")
def import_mean(site: Site, x: Value, dim: Axes = None, keepdim: bool = False, dtype: object = None) -> Imported:
    return _reduce(site, ops.mean, site.cast(x, site.type.dtype), dim, keepdim)


@aten("amax")
def import_amax(site: Site, x: Value, dim: Axes = (), keepdim: bool = False) -> Imported:
    return _reduce(site, ops.amax, x, dim, keepdim)


@aten("amin")
def import_amin(site: Site, x: Value, dim: Axes = (), keepdim: bool = False) -> Imported:
    return _reduce(site, ops.amin, x, dim, keepdim)


@aten("max")
def import_max(site: Site, x: Value) -> Imported:
    return _reduce(site, ops.amax, x, None, False)


@aten("min")
def import_min(site: Site, x: Value) -> Imported:
    return _reduce(site, ops.amin, x, None, False)


@aten("any", "any.dim", "any.dims")
def import_any(site: Site, x: Value, dim: Axes = None, keepdim: bool = False) -> Imported:
    return _reduce(site, ops.any, site.cast(x, DType.BOOL), dim, keepdim)


@aten("all", "all.dim", "all.dims")
def import_all(site: Site, x: Value, dim: Axes = None, keepdim: bool = False) -> Imported:
    return _reduce(site, ops.all, site.cast(x, DType.BOOL), dim, keepdim)


@aten("var.correction")
def import_var(
    site: Site, x: Value, dim: Axes = None, *, correction: float | None = None, keepdim: bool = False
) -> Imported:
    return _variance(site, x, dim, 1 if correction is None else correction, keepdim)


@aten("std.correction")
def import_std(
    site: Site, x: Value, dim: Axes = None, *, correction: float | None = None, keepdim: bool = False
) -> Imported:
    return site.build(ops.sqrt, _variance(site, x, dim, 1 if correction is None else correction, keepdim))


@aten("var_mean.correction")
def import_var_mean(
    site: Site, x: Value, dim: Axes = None, *, correction: float | None = None, keepdim: bool = False
) -> Imported:
    variance = _variance(site, x, dim, 1 if correction is None else correction, keepdim)
    return variance, _reduce(site, ops.mean, x, dim, keepdim)


def _variance(site: Site, x: Value, dim: Axes, correction: float, keepdim: bool) -> Value:
    """torch divides by n - correction, the IR by n."""
    variance = _reduce(site, ops.var, x, dim, keepdim)
    if correction == 0:
        return variance
    count = product(x.tensor.shape[a] for a in _axes(x, dim))
    if count.constant is not None and count.constant > correction:
        return site.binary(ops.mul, variance, count.constant / (count.constant - correction), x.tensor.dtype)
    n = site.value(count, DType.F32)
    ratio = site.build(ops.div, n, site.build(ops.sub, n, float(correction)))
    return site.binary(ops.mul, variance, ratio, x.tensor.dtype)


@aten("linalg_vector_norm")
def import_linalg_vector_norm(
    site: Site, x: Value, ord: float = 2, dim: Axes = None, keepdim: bool = False, *, dtype: object = None
) -> Imported:
    x = site.cast(x, site.type.dtype)
    if ord == 2:
        return site.build(ops.sqrt, _reduce(site, ops.sum, site.build(ops.mul, x, x), dim, keepdim))
    if ord == 1:
        return _reduce(site, ops.sum, site.build(ops.abs, x), dim, keepdim)
    raise site.unsupported(f"the norm of order {ord} is not supported, only 1 and 2")


@aten("softmax.int", "_softmax")
def import_softmax(site: Site, x: Value, dim: int, dtype: object = None) -> Imported:
    return site.build(ops.softmax, site.cast(x, site.type.dtype), axis=site.axis(x, dim))


@aten("log_softmax.int", "_log_softmax")
def import_log_softmax(site: Site, x: Value, dim: int, dtype: object = None) -> Imported:
    x = site.cast(x, site.type.dtype)
    peak, total = _exponential_sum(site, x, dim)
    return site.build(ops.sub, site.build(ops.sub, x, peak), site.build(ops.log, total))


@aten("logsumexp")
def import_logsumexp(site: Site, x: Value, dim: Axes, keepdim: bool = False) -> Imported:
    peak, total = _exponential_sum(site, x, dim)
    return site.reshape(site.build(ops.add, peak, site.build(ops.log, total)), site.type.shape)


def _exponential_sum(site: Site, x: Value, dim: Axes) -> tuple[Value, Value]:
    """The maximum along the axes, and the sum of exponentials of what lies below it."""
    peak = _reduce(site, ops.amax, x, dim, True)
    return peak, _reduce(site, ops.sum, site.build(ops.exp, site.build(ops.sub, x, peak)), dim, True)


@aten("cumsum")
def import_cumsum(site: Site, x: Value, dim: int, dtype: object = None) -> Imported:
    return site.build(ops.cumsum, site.cast(x, site.type.dtype), axis=site.axis(x, dim))
