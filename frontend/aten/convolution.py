"""Convolutions, and padding."""

from collections.abc import Sequence

from graphwright.frontend.aten.positions import padded_from_within
from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Site
from graphwright.ir import Dim, Value, ops


@aten("conv1d", "conv2d", "conv3d", "conv1d.padding", "conv2d.padding", "conv3d.padding")
def import_conv1d(
    site: Site,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] | str = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Imported:
    spatial = weight.tensor.rank - 2
    steps, spread = _each(stride, spatial), _each(dilation, spatial)
    named = isinstance(padding, str)
    sides = _named_padding(site, padding, weight, spread) if named else _each(padding, spatial) * 2
    # Without a batch axis torch takes one example.
    batched = x if x.tensor.rank == weight.tensor.rank else site.reshape(x, (1, *x.tensor.shape))
    result = site.build(
        ops.convolution, batched, weight, bias, stride=steps, padding=sides, dilation=spread, groups=groups
    )
    return site.reshape(result, site.type.shape)


@aten("convolution")
def import_convolution(
    site: Site,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Imported:
    if transposed:
        raise site.unsupported("a transposed convolution is not in the IR")
    spatial = weight.tensor.rank - 2
    return site.build(
        ops.convolution,
        x,
        weight,
        bias,
        stride=_each(stride, spatial),
        padding=_each(padding, spatial) * 2,
        dilation=_each(dilation, spatial),
        groups=groups,
    )


def _each(numbers: Sequence[int], axes: int) -> tuple[int, ...]:
    """One number for each axis; torch takes a single one for all."""
    return tuple(numbers) * (axes if len(numbers) == 1 else 1)


def _named_padding(site: Site, name: str, weight: Value, dilation: tuple[int, ...]) -> tuple[int, ...]:
    if name == "valid":
        return (0,) * (2 * len(dilation))
    if name != "same":
        raise site.unsupported(f"padding '{name}'")
    whole = [(length.evaluate({}) - 1) * d for length, d in zip(weight.tensor.shape[2:], dilation, strict=True)]
    before = [n // 2 for n in whole]
    return (*before, *(n - b for n, b in zip(whole, before, strict=True)))


@aten("constant_pad_nd")
def import_constant_pad_nd(site: Site, x: Value, pad: Sequence[int | Dim], value: float = 0) -> Imported:
    return _padded(site, x, pad, value)


@aten("pad")
def import_pad(
    site: Site, x: Value, pad: Sequence[int | Dim], mode: str = "constant", value: float | None = None
) -> Imported:
    if mode != "constant":
        return padded_from_within(site, x, pad, mode)
    return _padded(site, x, pad, value or 0)


def _padded(site: Site, x: Value, pad: Sequence[int | Dim], value: float) -> Value:
    """x with a number written before and after its last axes; torch names pairs from the last axis on.

    A negative amount cuts off.
    """
    for i in range(len(pad) // 2):
        axis = x.tensor.rank - 1 - i
        before, after = (Dim.of(n).constant for n in pad[2 * i : 2 * i + 2])
        if before is None or after is None:
            raise site.unsupported(f"padding by {pad[2 * i]} and {pad[2 * i + 1]}, which are not both numbers")
        inner = site.slice(x, axis, max(0, -before), x.tensor.shape[axis] + min(0, after))

        def edge(amount: int, inner: Value = inner, axis: int = axis) -> list[Value]:
            shape = [Dim.of(amount) if i == axis else d for i, d in enumerate(inner.tensor.shape)]
            return [site.full(value, shape, inner.tensor.dtype)] if amount > 0 else []

        parts = [*edge(before), inner, *edge(after)]
        x = site.build(ops.concat, *parts, axis=axis) if len(parts) > 1 else inner
    return x
