"""Evaluates one op on torch tensors, types inferred from them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from graphwright.ir import StateType, tensor
from graphwright.ir.declare import OpDef
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.torch_types import dtype_of


def evaluate(definition: OpDef, *operands: Tensor | None, state: tuple[int, ...] = (), **attributes: Any) -> Tensor:
    """The single result; operands at the indices `state` count as caches."""
    padded = definition.pad(operands)
    types = [None if v is None else tensor(dtype_of(v), *v.shape) for v in padded]
    kinds = [StateType("contiguous", t) if i in state and t is not None else t for i, t in enumerate(types)]
    complete = definition.complete(attributes)
    results = definition.infer(kinds, complete)
    (result,) = apply_reference(definition, padded, complete, results, {})
    return result
