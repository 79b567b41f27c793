"""The MoE operator of ONNX Runtime as an op, like those in `operators`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.experts import chosen, moe_experts
from graphwright.ir.ops.neural import Activation
from graphwright.ir.ops.rules import ONE, require_rank
from graphwright.ir.types import DType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


@op("ort.chosen_experts")
def chosen_experts(
    x: TensorType,
    router: TensorType,
    gate_up: TensorType,
    down: TensorType,
    gate_up_bias: TensorType | None = None,
    down_bias: TensorType | None = None,
    *,
    kind: Activation,
    gated: bool,
    alpha: float = 1.0,
    limit: float = math.inf,
    up_offset: float = 0.0,
) -> TensorType:
    """Each row of x [n, size] through the expert with the largest value in router [n, experts].

    Experts are those of `moe_experts`, but for the rows of gate_up and its bias, which alternate between gate and up.
    """
    require_rank("x", x, 2)
    one = TensorType(DType.I64, (x.shape[0], ONE))
    if router != TensorType(x.dtype, (x.shape[0], gate_up.shape[0])):
        raise IRTypeError(f"router {router} has not one value for each row of {x} and expert of {gate_up}")
    attributes = {"kind": kind, "gated": gated, "alpha": alpha, "limit": limit, "up_offset": up_offset}
    share = one.with_dtype(x.dtype)
    result = moe_experts.rule(x, one, share, gate_up, down, gate_up_bias, down_bias, **attributes)
    assert isinstance(result, TensorType)
    return result


@chosen_experts.reference
def chosen_experts_reference(
    x: Tensor,
    router: Tensor,
    gate_up: Tensor,
    down: Tensor,
    gate_up_bias: Tensor | None,
    down_bias: Tensor | None,
    *,
    gated: bool,
    **attributes: Any,
) -> Tensor:
    if gated:
        gate_up = torch.cat([gate_up[:, ::2], gate_up[:, 1::2]], 1)
        if gate_up_bias is not None:
            gate_up_bias = torch.cat([gate_up_bias[:, ::2], gate_up_bias[:, 1::2]], 1)
    indices = router.argmax(-1, keepdim=True)
    operands = [x, indices, torch.ones_like(indices).to(x.dtype), gate_up, down, gate_up_bias, down_bias]
    return moe_experts.evaluate(operands, {"gated": gated, **attributes})


@chosen_experts.cost
def chosen_experts_cost(op: Op) -> Cost:
    gate_up, down = (op.required(n).type for n in ("gate_up", "down"))
    each = gate_up.shape[1] * gate_up.shape[2] + down.shape[1] * down.shape[2]
    rows = op.required("x").type.shape[0]
    return default_cost(op, rows * each * 2, reads=chosen(op, rows))
