"""A layer of experts as one operator, which stands in a trace for code that sorts tokens by what the router chose."""

import torch
from torch import Tensor

from graphwright.frontend.aten.registry import IMPORTERS, Imported
from graphwright.frontend.aten.site import Site
from graphwright.ir import Dim, Value, ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.declare import OpDef
from graphwright.ir.weights import Applied


@torch.library.custom_op("graphwright::moe_experts", mutates_args=())
def moe_experts(
    x: Tensor,
    indices: Tensor,
    weights: Tensor,
    gate_up: Tensor,
    down: Tensor,
    gate_up_bias: Tensor | None,
    down_bias: Tensor | None,
    kind: str,
    gated: bool,
    alpha: float,
    limit: float,
    up_offset: float,
    interleaved: bool,
    transposed: bool,
) -> Tensor:
    """`ops.moe_experts` with weights as a module may hold them; x [tokens, size].

    `transposed`: the weights are [experts, in, out]. `interleaved`: outputs of gate_up alternate between gate and up.
    """
    raise NotImplementedError("it exists to be traced")


@moe_experts.register_fake  # pyright: ignore[reportUnknownMemberType] - torch leaves the function's type open
def moe_experts_fake(
    x: Tensor,
    indices: Tensor,
    weights: Tensor,
    gate_up: Tensor,
    down: Tensor,
    gate_up_bias: Tensor | None,
    down_bias: Tensor | None,
    kind: str,
    gated: bool,
    alpha: float,
    limit: float,
    up_offset: float,
    interleaved: bool,
    transposed: bool,
) -> Tensor:
    return x.new_empty((*x.shape[:-1], down.shape[2 if transposed else 1]))


def _import(
    site: Site,
    x: Value,
    indices: Value,
    weights: Value,
    gate_up: Value,
    down: Value,
    gate_up_bias: Value | None,
    down_bias: Value | None,
    kind: str,
    gated: bool,
    alpha: float,
    limit: float,
    up_offset: float,
    interleaved: bool,
    transposed: bool,
) -> Imported:
    if transposed:
        gate_up, down = (_rearranged(site, w, ops.transpose, permutation=(0, 2, 1)) for w in (gate_up, down))
    if interleaved:
        gate_up = _gate_first(site, gate_up)
        gate_up_bias = gate_up_bias if gate_up_bias is None else _gate_first(site, gate_up_bias)
    attributes = {"kind": kind, "gated": gated, "alpha": alpha, "limit": limit, "up_offset": up_offset}
    operands = (x, indices, weights, gate_up, down, gate_up_bias, down_bias)
    return site.build.op(ops.moe_experts, *operands, **attributes).result


IMPORTERS["graphwright.moe_experts.default"] = _import


def _gate_first(site: Site, weight: Value) -> Value:
    """A weight or bias whose rows alternate between gate and up, with the rows of gate before those of up."""
    experts, rows, *rest = weight.tensor.shape
    half = rows.exact_div(2)
    if half is None:
        raise site.unsupported(f"{rows} rows do not alternate between gate and up")
    pairs = _rearranged(site, weight, ops.reshape, shape=(experts, half, Dim.of(2), *rest))
    order = (0, 2, 1, *range(3, 3 + len(rest)))
    return _rearranged(
        site, _rearranged(site, pairs, ops.transpose, permutation=order), ops.reshape, shape=weight.tensor.shape
    )


def _rearranged(site: Site, x: Value, definition: OpDef, **attributes: Attribute) -> Value:
    """The op's result; lazily, as another weight, where x is a weight."""
    if x.weight is None:
        return site.build(definition, x, **attributes)
    expression = Applied.of(definition, (x.weight.expression,), attributes)
    return site.build.graph.weight(site.program.add_weight(f"{x.weight.name}.rearranged", expression))
