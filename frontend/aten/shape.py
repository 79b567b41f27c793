"""Views, transposes, cuts and joins."""

from collections.abc import Sequence

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Site, Size
from graphwright.ir import Dim, Value, ops
from graphwright.ir.dims import product


@aten(
    "view",
    "reshape",
    "_unsafe_view",
    "view_as",
    "reshape_as",
    "unsqueeze",
    "squeeze",
    "squeeze.dim",
    "squeeze.dims",
    "flatten.using_ints",
    "unflatten.int",
)
def import_view(site: Site, x: Value, *_: object) -> Imported:
    return site.reshape(x, site.type.shape)


@aten("transpose.int")
def import_transpose(site: Site, x: Value, first: int, second: int) -> Imported:
    order = list(range(x.tensor.rank))
    a, b = site.axis(x, first), site.axis(x, second)
    if order:
        order[a], order[b] = b, a
    return site.transpose(x, order)


@aten("t", "numpy_T", "mT", "matrix_H", "adjoint")
def import_t(site: Site, x: Value) -> Imported:
    order = list(range(x.tensor.rank))
    whole = site.operator in ("aten.t.default", "aten.numpy_T.default")
    return site.transpose(x, order[::-1] if whole else [*order[:-2], *order[-2:][::-1]])


@aten("permute")
def import_permute(site: Site, x: Value, order: Sequence[int]) -> Imported:
    return site.transpose(x, order)


@aten("movedim.int", "movedim.intlist")
def import_movedim(site: Site, x: Value, source: int | Sequence[int], destination: int | Sequence[int]) -> Imported:
    sources = [site.axis(x, a) for a in ([source] if isinstance(source, int) else source)]
    targets = [site.axis(x, a) for a in ([destination] if isinstance(destination, int) else destination)]
    rest = iter(a for a in range(x.tensor.rank) if a not in sources)
    placed = dict(zip(targets, sources, strict=True))
    return site.transpose(x, [placed[i] if i in placed else next(rest) for i in range(x.tensor.rank)])


@aten("expand", "expand_as", "broadcast_to")
def import_expand(site: Site, x: Value, _: object, *, implicit: bool = False) -> Imported:
    return site.expand(x, site.type.shape)


@aten("repeat")
def import_repeat(site: Site, x: Value, repeats: Sequence[Size]) -> Imported:
    lengths = [Dim.of(1)] * (len(repeats) - x.tensor.rank) + list(x.tensor.shape)
    counts = [Dim.of(n) for n in repeats]
    single = [d for length in lengths for d in (Dim.of(1), length)]
    spread = [d for pair in zip(counts, lengths, strict=True) for d in pair]
    if all(n == 1 for n in counts):
        return site.reshape(x, lengths)
    return site.reshape(site.expand(site.reshape(x, single), spread), site.type.shape)


@aten("repeat_interleave.self_int")
def import_repeat_interleave(
    site: Site, x: Value, repeats: Size, dim: int | None = None, *, output_size: object = None
) -> Imported:
    if dim is None:
        x, dim = site.reshape(x, [product(x.tensor.shape)]), 0
    axis = site.axis(x, dim)
    before, length, after = x.tensor.shape[:axis], x.tensor.shape[axis], x.tensor.shape[axis + 1 :]
    single = site.reshape(x, (*before, length, Dim.of(1), *after))
    return site.reshape(site.expand(single, (*before, length, Dim.of(repeats), *after)), site.type.shape)


@aten("slice.Tensor")
def import_slice(
    site: Site, x: Value, dim: int = 0, start: Size | None = None, end: Size | None = None, step: int = 1
) -> Imported:
    if site.type == x.type:
        return x
    attributes = {"start": Dim.of(0 if start is None else start), "step": step}
    if end is not None and Dim.of(end).constant != END_OF_AXIS:
        attributes["stop"] = Dim.of(end)
    return site.build(ops.slice, x, axis=site.axis(x, dim), **attributes)


END_OF_AXIS = 2**63 - 1
"""torch's bound for `x[start:]`."""


@aten("narrow")
def import_narrow(site: Site, x: Value, dim: int, start: Size, length: Size) -> Imported:
    return site.slice(x, site.axis(x, dim), start, Dim.of(start) + length)


@aten("select.int")
def import_select(site: Site, x: Value, dim: int, index: Size) -> Imported:
    axis = site.axis(x, dim)
    start = _from_front(index, x.tensor.shape[axis])
    return site.reshape(site.slice(x, axis, start, start + 1), site.type.shape)


def _from_front(index: Size, length: Dim) -> Dim:
    index = Dim.of(index)
    return index + length if index.constant is not None and index.constant < 0 else index


@aten("split.Tensor", "split_with_sizes", "chunk", "tensor_split.sections", "split.sizes")
def import_split(site: Site, x: Value, _: object, dim: int = 0) -> Imported:
    axis, start = site.axis(x, dim), Dim.of(0)
    parts: list[Value] = []
    for type in site.types:
        stop = start + type.shape[axis]
        parts.append(site.slice(x, axis, start, stop))
        start = stop
    return tuple(parts)


@aten("unbind.int")
def import_unbind(site: Site, x: Value, dim: int = 0) -> Imported:
    axis = site.axis(x, dim)
    return tuple(site.reshape(site.slice(x, axis, i, i + 1), type.shape) for i, type in enumerate(site.types))


@aten("cat", "concat", "concatenate")
def import_cat(site: Site, parts: Sequence[Value], dim: int = 0) -> Imported:
    # torch skips tensors of shape [0], a leftover of its early years.
    kept = [site.cast(p, site.type.dtype) for p in parts if p.tensor.shape != (Dim.of(0),) or site.type.rank == 1]
    return kept[0] if len(kept) == 1 else site.build(ops.concat, *kept, axis=site.axis(kept[0], dim))


@aten("stack")
def import_stack(site: Site, parts: Sequence[Value], dim: int = 0) -> Imported:
    axis = dim % site.type.rank
    shape = site.type.shape
    single = [site.reshape(site.cast(p, site.type.dtype), (*shape[:axis], 1, *shape[axis + 1 :])) for p in parts]
    return single[0] if len(single) == 1 else site.build(ops.concat, *single, axis=axis)


@aten("slice_scatter")
def import_slice_scatter(
    site: Site, x: Value, source: Value, dim: int = 0, start: Size | None = None, end: Size | None = None, step: int = 1
) -> Imported:
    axis = site.axis(x, dim)
    if step != 1:
        raise site.unsupported(f"assigning to every {step}th element is not supported")
    first = _from_front(0 if start is None else start, x.tensor.shape[axis])
    return _overwritten(site, x, source, axis, first)


@aten("select_scatter")
def import_select_scatter(site: Site, x: Value, source: Value, dim: int, index: Size) -> Imported:
    axis = site.axis(x, dim)
    shape = x.tensor.shape
    single = site.reshape(source, (*shape[:axis], 1, *shape[axis + 1 :]))
    return _overwritten(site, x, single, axis, _from_front(index, shape[axis]))


def _overwritten(site: Site, x: Value, source: Value, axis: int, start: Dim) -> Value:
    """x with a range of an axis replaced: what an assignment to a slice becomes."""
    length, stop = x.tensor.shape[axis], start + source.tensor.shape[axis]
    parts = [site.cast(source, site.type.dtype)]
    if start != 0:
        parts.insert(0, site.slice(x, axis, 0, start))
    if stop is not length:
        parts.append(site.slice(x, axis, stop, length))
    return parts[0] if len(parts) == 1 else site.build(ops.concat, *parts, axis=axis)
