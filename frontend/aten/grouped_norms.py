"""Norms over channels: group, batch and instance norm, and the forms of layer norm that give their statistics too."""

from collections.abc import Sequence

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Site
from graphwright.ir import Dim, Value, ops
from graphwright.ir.dims import product


@aten("group_norm")
def import_group_norm(
    site: Site,
    x: Value,
    groups: int,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Imported:
    batch, channels, *rest = x.tensor.shape
    inside = channels.exact_div(groups)
    if inside is None:
        raise site.unsupported(f"{channels} channels do not divide into {groups} groups")
    flat = site.reshape(x, (batch, groups, product([inside, *rest])))
    return _by_channel(site, site.reshape(_normal(site, flat, (2,), eps), x.tensor.shape), weight, bias)


@aten("instance_norm")
def import_instance_norm(
    site: Site,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    variance: Value | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Imported:
    if not use_input_stats:
        return _frozen(site, x, weight, bias, mean, variance, eps)
    return _by_channel(site, _normal(site, x, tuple(range(2, x.tensor.rank)), eps), weight, bias)


@aten("batch_norm")
def import_batch_norm(
    site: Site,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    variance: Value | None,
    training: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Imported:
    if training:
        raise site.unsupported("batch norm over the batch itself relates its rows; switch the module to evaluation")
    return _frozen(site, x, weight, bias, mean, variance, eps)


@aten("native_layer_norm")
def import_native_layer_norm(
    site: Site, x: Value, normalized_shape: Sequence[int], weight: Value | None, bias: Value | None, eps: float
) -> Imported:
    normal = _normal(site, x, tuple(range(x.tensor.rank - len(normalized_shape), x.tensor.rank)), eps)
    scaled = normal if weight is None else site.build(ops.mul, normal, weight)
    return scaled if bias is None else site.build(ops.add, scaled, bias), None, None


def _normal(site: Site, x: Value, axes: tuple[int, ...], eps: float) -> Value:
    mean, variance = (site.build(statistic, x, axes=axes, keepdims=True) for statistic in (ops.mean, ops.var))
    return site.build(ops.mul, site.build(ops.sub, x, mean), _inverse_deviation(site, variance, eps))


def _frozen(
    site: Site,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    variance: Value | None,
    eps: float,
) -> Value:
    if mean is None or variance is None:
        raise site.unsupported("there are no running statistics to normalize by")
    centered = site.build(ops.sub, x, _channels(site, mean, x))
    deviation = _inverse_deviation(site, _channels(site, variance, x), eps)
    return _by_channel(site, site.build(ops.mul, centered, deviation), weight, bias)


def _inverse_deviation(site: Site, variance: Value, eps: float) -> Value:
    return site.build(ops.rsqrt, site.build(ops.add, variance, eps))


def _by_channel(site: Site, x: Value, weight: Value | None, bias: Value | None) -> Value:
    scaled = x if weight is None else site.build(ops.mul, x, _channels(site, weight, x))
    return scaled if bias is None else site.build(ops.add, scaled, _channels(site, bias, x))


def _channels(site: Site, vector: Value, x: Value) -> Value:
    """A vector with an element a channel, for x [batch, channels, …]."""
    column = site.reshape(vector, (vector.tensor.shape[0], *[Dim.of(1)] * (x.tensor.rank - 2)))
    return site.cast(column, x.tensor.dtype)
