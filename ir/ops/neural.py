"""Norms, activations and gated units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import AxisFlow, op
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import aligned_right, keep_but, last, require_equal, require_float, require_rank
from graphwright.ir.traits import Trait
from graphwright.ir.types import TensorType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["activation", "glu", "layer_norm", "rms_norm", "softcap"]

Activation = Literal["silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "sigmoid", "tanh"]


def _require_scale(name: str, scale: TensorType, x: TensorType) -> None:
    require_rank(name, scale, 1)
    require_equal(f"last axis of x and {name}", last("x", x), scale.shape[0])
    if scale.dtype is not x.dtype:
        raise IRTypeError(f"x is {x.dtype} and {name} {scale.dtype}")


@op("rms_norm", Trait.CHEAP)
def rms_norm(x: TensorType, weight: TensorType, *, epsilon: float) -> TensorType:
    """x / sqrt(mean(x²) + epsilon) * weight over the last axis (Zhang & Sennrich 2019, eq. 4). weight is [size]."""
    require_float("x", x)
    _require_scale("weight", weight, x)
    return x


@rms_norm.reference
def rms_norm_reference(x: Tensor, weight: Tensor, *, epsilon: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weight


@op("layer_norm", Trait.CHEAP)
def layer_norm(
    x: TensorType, weight: TensorType | None = None, bias: TensorType | None = None, *, epsilon: float
) -> TensorType:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis (Ba et al. 2016, eq. 4)."""
    require_float("x", x)
    last("x", x)
    if weight is not None:
        _require_scale("weight", weight, x)
    if bias is not None:
        _require_scale("bias", bias, x)
    return x


@layer_norm.reference
def layer_norm_reference(x: Tensor, weight: Tensor | None, bias: Tensor | None, *, epsilon: float) -> Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:], weight, bias, epsilon)


@rms_norm.axes
@layer_norm.axes
def rms_norm_axes(op: Op) -> AxisFlow:
    return keep_but(op, -1)


@rms_norm.cost
@layer_norm.cost
def rms_norm_cost(op: Op) -> Cost:
    return default_cost(op, op.results[0].type.elements * 5)


def activate(x: Tensor, kind: Activation) -> Tensor:
    """The activation function of that name, by torch."""
    functional = torch.nn.functional
    match kind:
        case "silu":
            return functional.silu(x)
        case "gelu":
            return functional.gelu(x)
        case "gelu_tanh":
            return functional.gelu(x, approximate="tanh")
        case "quick_gelu":
            return x * torch.sigmoid(1.702 * x)
        case "relu":
            return functional.relu(x)
        case "sigmoid":
            return torch.sigmoid(x)
        case "tanh":
            return torch.tanh(x)


@op("activation", Trait.ELEMENTWISE)
def activation(x: TensorType, *, kind: Activation) -> TensorType:
    """An activation function, elementwise. gelu is exact, gelu_tanh its tanh form (Hendrycks & Gimpel 2016)."""
    require_float("x", x)
    return x


@activation.reference
def activation_reference(x: Tensor, *, kind: Activation) -> Tensor:
    return activate(x, kind)


@op("glu", Trait.ELEMENTWISE)
def glu(gate: TensorType, up: TensorType, *, kind: Activation) -> TensorType:
    """activation(gate) * up: the gated unit of Shazeer 2020 without its projections."""
    require_float("gate", gate)
    if gate != up:
        raise IRTypeError(f"gate is {gate} and up {up}")
    return gate


@glu.reference
def glu_reference(gate: Tensor, up: Tensor, *, kind: Activation) -> Tensor:
    return activate(gate, kind) * up


@op("softcap", Trait.ELEMENTWISE)
def softcap(x: TensorType, *, cap: float) -> TensorType:
    """cap * tanh(x / cap), elementwise (Gemma 2 report, section 2)."""
    require_float("x", x)
    return x


@softcap.reference
def softcap_reference(x: Tensor, *, cap: float) -> Tensor:
    return cap * torch.tanh(x / cap)


activation.axes(aligned_right)
glu.axes(aligned_right)
softcap.axes(aligned_right)


@activation.cost
@glu.cost
@softcap.cost
def activation_cost(op: Op) -> Cost:
    return default_cost(op, op.results[0].type.elements * 5)
