"""The largest elements, sorting, and writing elements to places that are computed."""

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Operand, Site
from graphwright.ir import Dim, DType, Value, ops


@aten("topk")
def import_topk(
    site: Site, x: Value, k: int | Dim, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Imported:
    # Without `sorted` torch promises no order, so this one is as good as any; nor does it for equal elements.
    return _first(site, x, k, dim, largest)


@aten("sort", "sort.stable")
def import_sort(
    site: Site, x: Value, dim: int = -1, descending: bool = False, *, stable: bool | None = None
) -> Imported:
    return _whole(site, x, dim, descending)


@aten("argsort", "argsort.stable")
def import_argsort(
    site: Site, x: Value, dim: int = -1, descending: bool = False, *, stable: bool | None = None
) -> Imported:
    return _whole(site, x, dim, descending)[1]


def _whole(site: Site, x: Value, dim: int, descending: bool) -> tuple[Value, Value]:
    return _first(site, x, x.tensor.shape[site.axis(x, dim)] if x.tensor.rank else 1, dim, descending)


def _first(site: Site, x: Value, k: int | Dim, dim: int, largest: bool) -> tuple[Value, Value]:
    count = Dim.of(k).constant
    if count is None:
        raise site.unsupported(f"the number of elements in order, {k}, must be fixed")
    if not x.tensor.rank:
        return x, site.full(0, (), DType.I64)
    values, indices = site.build.op(ops.topk, x, k=count, axis=site.axis(x, dim), largest=largest).results
    return values, indices


@aten("scatter.src", "scatter_add")
def import_scatter_src(site: Site, x: Value, dim: int, index: Value, src: Value) -> Imported:
    reduction = "add" if site.operator == "aten.scatter_add.default" else "none"
    return _scatter(site, x, dim, index, _covered(site, src, index), reduction)


@aten("scatter.value")
def import_scatter_value(site: Site, x: Value, dim: int, index: Value, value: Operand) -> Imported:
    return _scatter(site, x, dim, index, site.full(value, index.tensor.shape, x.tensor.dtype), "none")


def _covered(site: Site, src: Value, index: Value) -> Value:
    """The part of src that index has places for: it begins at the front of each axis."""
    for axis, reach in enumerate(index.tensor.shape):
        src = site.slice(src, axis, 0, reach)
    return src


def _scatter(site: Site, x: Value, dim: int, index: Value, updates: Value, reduction: str) -> Value:
    axis, index = site.axis(x, dim), site.cast(index, DType.I64)
    return site.build(ops.scatter_elements, x, index, updates, axis=axis, reduction=reduction)


@aten("one_hot")
def import_one_hot(site: Site, x: Value, num_classes: int = -1) -> Imported:
    if num_classes < 0:
        raise site.unsupported("the number of classes depends on the data; pass num_classes")
    column = site.reshape(x, (*x.tensor.shape, 1))
    classes = site.build(ops.iota, size=Dim.of(num_classes), dtype=DType.I64)
    return site.cast(site.build(ops.eq, column, classes), DType.I64)
