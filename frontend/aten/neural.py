"""Norms, activations, dropout and embedding."""

from collections.abc import Sequence

import torch

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Site
from graphwright.ir import DType, Value, ops
from graphwright.ir.dims import Dim, product
from graphwright.ir.torch_types import torch_dtype


@aten("silu")
def import_silu(site: Site, x: Value) -> Imported:
    return site.build(ops.activation, x, kind="silu")


@aten("relu")
def import_relu(site: Site, x: Value) -> Imported:
    return site.build(ops.activation, x, kind="relu")


@aten("gelu")
def import_gelu(site: Site, x: Value, approximate: str = "none") -> Imported:
    return site.build(ops.activation, x, kind="gelu_tanh" if approximate == "tanh" else "gelu")


@aten("leaky_relu")
def import_leaky_relu(site: Site, x: Value, negative_slope: float = 0.01) -> Imported:
    below = site.binary(ops.mul, x, negative_slope, x.tensor.dtype)
    return site.build(ops.where, site.build(ops.gt, x, 0.0), x, below)


@aten("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
def import_dropout(site: Site, x: Value, p: float, train: bool) -> Imported:
    if train and p > 0:
        raise site.unsupported("this dropout is active; pass training=self.training so that evaluation switches it off")
    return x


@aten("embedding")
def import_embedding(
    site: Site,
    weight: Value,
    indices: Value,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Imported:
    return site.build(ops.embedding, weight, site.cast(indices, DType.I64))


@aten("layer_norm")
def import_layer_norm(
    site: Site,
    x: Value,
    normalized_shape: Sequence[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Imported:
    flat, (scale, shift) = _last_axis(site, x, len(normalized_shape), weight, bias)
    return site.reshape(site.build.op(ops.layer_norm, flat, scale, shift, epsilon=eps).result, site.type.shape)


@aten("rms_norm")
def import_rms_norm(
    site: Site, x: Value, normalized_shape: Sequence[int], weight: Value | None = None, eps: float | None = None
) -> Imported:
    flat, (scale,) = _last_axis(site, x, len(normalized_shape), weight)
    type = flat.tensor
    if scale is None:
        scale = site.full(1, (type.shape[-1],), type.dtype)
    # torch's default is the machine epsilon of the dtype in which it normalizes.
    epsilon = torch.finfo(torch_dtype(type.dtype)).eps if eps is None else eps
    return site.reshape(site.build(ops.rms_norm, flat, scale, epsilon=epsilon), site.type.shape)


def _last_axis(site: Site, x: Value, axes: int, *scales: Value | None) -> tuple[Value, list[Value | None]]:
    """x and its scales with the normalized axes made one."""
    shape = x.tensor.shape
    size = product(shape[len(shape) - axes :])
    flat = site.reshape(x, (*shape[: len(shape) - axes], size))
    return flat, [None if s is None else site.cast(site.reshape(s, (Dim.of(size),)), x.tensor.dtype) for s in scales]
