"""Rearrangements by position: flips, rolls, diagonals, padding from the tensor itself, repetition of pixels."""

from collections.abc import Sequence

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Site, Size
from graphwright.ir import Dim, DType, Value, ops


@aten("flip")
def import_flip(site: Site, x: Value, dims: Sequence[int]) -> Imported:
    for dim in dims:
        axis = site.axis(x, dim)
        length = x.tensor.shape[axis]
        x = site.build(ops.gather, x, _from_end(site, length, _counted(site, length)), axis=axis)
    return x


@aten("roll")
def import_roll(site: Site, x: Value, shifts: Sequence[Size], dims: Sequence[int] = ()) -> Imported:
    if not dims:
        raise site.unsupported("a roll without axes is not supported; name them")
    for shift, dim in zip(shifts, dims, strict=True):
        axis = site.axis(x, dim)
        length = x.tensor.shape[axis]
        moved = site.build(ops.sub, _counted(site, length), site.value(shift, DType.I64))
        index = site.build(ops.remainder, moved, site.value(length, DType.I64))
        x = site.build(ops.gather, x, index, axis=axis)
    return x


@aten("diagonal")
def import_diagonal(site: Site, x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Imported:
    row, column = site.axis(x, dim1), site.axis(x, dim2)
    rest = [a for a in range(x.tensor.rank) if a not in (row, column)]
    rows, columns = x.tensor.shape[row], x.tensor.shape[column]
    moved = site.transpose(x, [*rest, row, column])
    count = site.type.shape[-1]
    flat = site.reshape(moved, (*moved.tensor.shape[:-2], rows * columns))
    step = site.build(ops.mul, _counted(site, count), site.value(columns + 1, DType.I64))
    first = Dim.of(offset) if offset >= 0 else columns * -offset
    return site.build(
        ops.gather, flat, site.build(ops.add, step, site.value(first, DType.I64)), axis=flat.tensor.rank - 1
    )


def padded_from_within(site: Site, x: Value, pad: Sequence[Size], mode: str) -> Value:
    """x with axes lengthened by its own elements: reflected, replicated or wrapped around; `pad` in torch's order."""
    for i in range(len(pad) // 2):
        before, after = Dim.of(pad[2 * i]), Dim.of(pad[2 * i + 1])
        axis = x.tensor.rank - 1 - i
        if before == 0 and after == 0:
            continue
        length = x.tensor.shape[axis]
        total = before + length + after
        place = site.build(ops.sub, _counted(site, total), site.value(before, DType.I64))
        x = site.build(ops.gather, x, _inside(site, place, length, mode), axis=axis)
    return x


def _inside(site: Site, place: Value, length: Dim, mode: str) -> Value:
    """For a place before, in or behind an axis the place in it that it stands for."""
    if mode == "circular":
        return site.build(ops.remainder, place, site.value(length, DType.I64))
    if mode == "replicate":
        low = site.build(ops.maximum, place, site.value(0, DType.I64))
        return site.build(ops.minimum, low, site.value(length - 1, DType.I64))
    if mode == "reflect":
        folded = _from_end(site, length, site.build(ops.abs, place))
        return _from_end(site, length, site.build(ops.abs, folded))
    raise site.unsupported(f"padding by mode '{mode}'")


@aten("upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec")
def import_upsample_nearest(
    site: Site, x: Value, output_size: Sequence[Size] | None, scale_factors: Sequence[float] | None
) -> Imported:
    for axis in range(2, x.tensor.rank):
        before, length, after = x.tensor.shape[:axis], x.tensor.shape[axis], x.tensor.shape[axis + 1 :]
        times = site.type.shape[axis].exact_div(length)
        if times is None or times.constant is None:
            raise site.unsupported(f"{length} to {site.type.shape[axis]} elements: only whole multiples are supported")
        single = site.reshape(x, (*before, length, 1, *after))
        x = site.reshape(site.expand(single, (*before, length, times, *after)), (*before, length * times, *after))
    return x


def _counted(site: Site, size: Dim) -> Value:
    return site.build(ops.iota, size=size, dtype=DType.I64)


def _from_end(site: Site, length: Dim, place: Value) -> Value:
    return site.build(ops.sub, site.value(length - 1, DType.I64), place)
