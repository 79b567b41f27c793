"""Where the largest and the smallest elements stand."""

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Site
from graphwright.ir import DType, Value, ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dims import product


@aten("argmax")
def import_argmax(site: Site, x: Value, dim: int | None = None, keepdim: bool = False) -> Imported:
    return _position(site, ops.amax, x, dim)


@aten("argmin")
def import_argmin(site: Site, x: Value, dim: int | None = None, keepdim: bool = False) -> Imported:
    return _position(site, ops.amin, x, dim)


@aten("max.dim")
def import_max(site: Site, x: Value, dim: int, keepdim: bool = False) -> Imported:
    return _extreme(site, ops.amax, x, dim)


@aten("min.dim")
def import_min(site: Site, x: Value, dim: int, keepdim: bool = False) -> Imported:
    return _extreme(site, ops.amin, x, dim)


def _extreme(site: Site, extreme: OpDef, x: Value, dim: int) -> tuple[Value, Value]:
    if x.tensor.rank == 0:
        return x, site.full(0, (), DType.I64)
    value = site.build(extreme, x, axes=(site.axis(x, dim),), keepdims=True)
    return site.reshape(value, site.type.shape), _first(site, x, value, site.axis(x, dim))


def _position(site: Site, extreme: OpDef, x: Value, dim: int | None) -> Value:
    if x.tensor.rank == 0:
        return site.full(0, site.type.shape, DType.I64)
    if dim is None:
        x, dim = site.reshape(x, [product(x.tensor.shape)]), 0
    axis = site.axis(x, dim)
    return _first(site, x, site.build(extreme, x, axes=(axis,), keepdims=True), axis)


def _first(site: Site, x: Value, value: Value, axis: int) -> Value:
    """The first place along the axis where x is the value: what torch takes among equals."""
    size = x.tensor.shape[axis]
    places = site.build(ops.iota, size=size, dtype=DType.I64)
    places = site.reshape(places, [size if i == axis else 1 for i in range(x.tensor.rank)])
    found = site.build(ops.where, site.build(ops.eq, x, value), places, site.value(size, DType.I64))
    return site.reshape(site.build(ops.amin, found, axes=(axis,)), site.types[-1].shape)
