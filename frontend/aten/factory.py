"""Tensors made from nothing: constants, ranges, triangles."""

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Operand, Site, Size
from graphwright.ir import Dim, DType, Value, ops


@aten("full", "full_like", "new_full")
def import_full(site: Site, *arguments: object, dtype: object = None) -> Imported:
    value = arguments[-1]
    assert isinstance(value, (Value, Dim, bool, int, float))
    return site.full(value, site.type.shape, site.type.dtype)


@aten("fill.Scalar", "fill.Tensor")
def import_fill(site: Site, x: Value, value: Operand) -> Imported:
    return site.full(value, site.type.shape, site.type.dtype)


@aten("scalar_tensor")
def import_scalar_tensor(site: Site, value: Operand, dtype: object = None) -> Imported:
    return site.full(value, (), site.type.dtype)


@aten("ones", "ones_like", "new_ones")
def import_ones(site: Site, *_: object, dtype: object = None) -> Imported:
    return site.full(1, site.type.shape, site.type.dtype)


# Whatever a model does with memory that it never wrote, zeros are as right as anything.
@aten(
    "zeros",
    "zeros_like",
    "new_zeros",
    "zero",
    "empty.memory_format",
    "empty_like",
    "new_empty",
    "empty_strided",
    "new_empty_strided",
)
def import_zeros(site: Site, *_: object, dtype: object = None) -> Imported:
    return site.full(0, site.type.shape, site.type.dtype)


@aten("arange")
def import_arange(site: Site, end: Operand, dtype: object = None) -> Imported:
    return _range(site, 0, 1)


@aten("arange.start")
def import_arange_start(site: Site, start: Operand, end: Operand, dtype: object = None) -> Imported:
    return _range(site, start, 1)


@aten("arange.start_step")
def import_arange_start_step(
    site: Site, start: Operand, end: Operand, step: Operand = 1, dtype: object = None
) -> Imported:
    return _range(site, start, step)


def _range(site: Site, start: Operand, step: Operand) -> Value:
    dtype, (size,) = site.type.dtype, site.type.shape
    x = site.build(ops.iota, size=size, dtype=dtype)
    if step != 1:
        x = site.build(ops.mul, x, site.value(step, dtype))
    return x if start == 0 else site.build(ops.add, x, site.value(start, dtype))


@aten("tril")
def import_tril(site: Site, x: Value, diagonal: Size = 0) -> Imported:
    return _triangle(site, x, diagonal, lower=True)


@aten("triu")
def import_triu(site: Site, x: Value, diagonal: Size = 0) -> Imported:
    return _triangle(site, x, diagonal, lower=False)


def _triangle(site: Site, x: Value, diagonal: Size, *, lower: bool) -> Value:
    rows, columns = x.tensor.shape[-2:]
    row = site.reshape(site.build(ops.iota, size=rows, dtype=DType.I64), (rows, 1))
    column = site.build(ops.iota, size=columns, dtype=DType.I64)
    edge = row if diagonal == 0 else site.build(ops.add, row, site.value(diagonal, DType.I64))
    kept = site.build(ops.le if lower else ops.ge, column, edge)
    return site.build(ops.where, kept, x, site.full(0, (), x.tensor.dtype))


@aten("eye", "eye.m")
def import_eye(site: Site, *_: object, dtype: object = None) -> Imported:
    rows, columns = site.type.shape
    row = site.reshape(site.build(ops.iota, size=rows, dtype=DType.I64), (rows, 1))
    column = site.build(ops.iota, size=columns, dtype=DType.I64)
    return site.cast(site.build(ops.eq, row, column), site.type.dtype)
