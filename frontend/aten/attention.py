"""torch's scaled dot-product attention."""

import math

from graphwright.frontend.aten.registry import Imported, aten
from graphwright.frontend.aten.site import Site
from graphwright.ir import Dim, DType, Value, ops


@aten("scaled_dot_product_attention")
def import_scaled_dot_product_attention(
    site: Site,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Imported:
    if dropout_p > 0:
        raise site.unsupported("dropout inside attention is active; pass dropout_p=0.0 for inference")
    q, k, v = (_four_axes(site, x) for x in (query, key, value))
    batch, heads, length, size = q.tensor.shape
    if size.constant is None:
        raise site.unsupported(f"the head size {size} is not a number")
    if not enable_gqa and k.tensor.shape[1] is not heads and k.tensor.shape[1] != 1:
        raise site.unsupported(f"{heads} query heads do not broadcast over {k.tensor.shape[1]} key heads")
    k, v = (site.expand(x, (batch, *x.tensor.shape[1:])) for x in (k, v))
    positions = site.reshape(site.build(ops.iota, size=length, dtype=DType.I64), (Dim.of(1), length))
    bias = None if attn_mask is None else _bias(site, attn_mask, query)
    result = site.build.op(
        ops.attention,
        q,
        k,
        v,
        positions,
        None,
        bias,
        scale=1 / math.sqrt(size.constant) if scale is None else scale,
        mask="causal" if is_causal else "full",
    ).result
    return site.reshape(result, site.type.shape)


def _four_axes(site: Site, x: Value) -> Value:
    """[..., length, size] as [batch, heads, length, size]; the leading axis of three counts as the batch."""
    *leading, length, size = x.tensor.shape
    if len(leading) > 2:
        raise site.unsupported(f"attention over {x.tensor}: at most [batch, heads, length, size] is supported")
    return site.reshape(x, (*leading, *[Dim.of(1)] * (2 - len(leading)), length, size))


def _bias(site: Site, mask: Value, query: Value) -> Value:
    bias = mask if mask.tensor.dtype is DType.BOOL else site.cast(mask, query.tensor.dtype)
    if query.tensor.rank == 3 and bias.tensor.rank == 3:
        batch, length, keys = bias.tensor.shape
        return site.reshape(bias, (batch, Dim.of(1), length, keys))
    return bias
