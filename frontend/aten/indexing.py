"""Picking elements by tensors of indices."""

from collections.abc import Sequence

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Site
from graphwright.ir import Dim, DType, Value, ops
from graphwright.ir.dims import product
from graphwright.ir.traits import Trait


@aten("index.Tensor", "_unsafe_index.Tensor")
def import_index(site: Site, x: Value, indices: Sequence[Value | None]) -> Imported:
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    given = [index for index in indices if index is not None]
    if any(index.tensor.dtype is DType.BOOL for index in given):
        raise site.unsupported("picking by a mask gives a shape that depends on the data; use torch.where")
    shape = x.tensor.shape
    if axes != list(range(axes[0], axes[0] + len(axes))):
        # Indices that do not stand side by side put their axes first, as in NumPy.
        order = axes + [a for a in range(x.tensor.rank) if a not in axes]
        x, axes = site.transpose(x, order), list(range(len(axes)))
        shape = x.tensor.shape
    first, lengths = axes[0], shape[axes[0] : axes[0] + len(axes)]
    position = _from_front(site, given[0], lengths[0])
    for index, length in zip(given[1:], lengths[1:], strict=True):
        row = site.build(ops.mul, position, site.value(length, DType.I64))
        position = site.build(ops.add, row, _from_front(site, index, length))
    flat = site.reshape(x, (*shape[:first], product(lengths), *shape[first + len(axes) :]))
    return site.build(ops.gather, flat, position, axis=first)


@aten("index_select")
def import_index_select(site: Site, x: Value, dim: int, index: Value) -> Imported:
    return site.build(ops.gather, x, site.cast(index, DType.I64), axis=site.axis(x, dim))


@aten("gather")
def import_gather(site: Site, x: Value, dim: int, index: Value, *, sparse_grad: bool = False) -> Imported:
    return site.build(ops.gather_elements, x, site.cast(index, DType.I64), axis=site.axis(x, dim))


@aten("nonzero", "nonzero_numpy", "masked_select")
def import_nonzero(site: Site, x: Value, *_: Value) -> Imported:
    raise site.unsupported("how many elements it gives depends on the data; use all of them and torch.where")


def _from_front(site: Site, index: Value, length: Dim) -> Value:
    """The index counted from the front: torch takes negative ones from the end."""
    index = site.cast(index, DType.I64)
    if _never_negative(index):
        return index
    wrapped = site.build(ops.add, index, site.value(length, DType.I64))
    return site.build(ops.where, site.build(ops.lt, index, 0), wrapped, index)


KEEPS_SIGN = frozenset({ops.cast, ops.add, ops.mul, ops.maximum, ops.minimum})
"""Ops, beside those that move elements, that give nothing negative where no operand is."""


def _never_negative(index: Value) -> bool:
    """Whether the index is plainly made of positions: ranges, numbers from 0 on, and their sums and products."""
    op = index.owner
    if op is None:
        return False
    if op.definition.has(Trait.MOVES) or op.definition in KEEPS_SIGN:
        return all(_never_negative(v) for v in op.inputs)
    value = op.attributes.get("value")
    small = op.definition is ops.constant and isinstance(value, int) and value >= 0
    return small or op.definition in (ops.iota, ops.dim_value)
