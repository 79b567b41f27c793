"""The next token, chosen where the logits are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import require_rank
from graphwright.ir.types import DType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


@op("cuda.likeliest")
def likeliest(logits: TensorType) -> TensorType:
    """The place of the largest of logits f32 [batch, tokens, vocabulary], the first of equal ones: i64 [batch, tokens].

    It is -1 where the largest is not finite, or any of them is not a number.
    """
    require_rank("logits", logits, 3)
    if logits.dtype is not DType.F32:
        raise IRTypeError(f"logits are {logits}, expected f32")
    return TensorType(DType.I64, logits.shape[:2])


@likeliest.reference
def likeliest_reference(logits: Tensor) -> Tensor:
    # As numpy does, and torch: not a number is larger than any.
    return torch.where(logits.amax(-1).isfinite(), logits.argmax(-1), -1)


@likeliest.cost
def likeliest_cost(op: Op) -> Cost:
    return default_cost(op, op.required("logits").type.elements)
