"""What the ops share that carry a recurrent state along the tokens.

Each takes an optional state and optional new_length (i64 [batch]) and gives its result and the final state. A state
is `state<recurrent ...[batch, ...]>`; zeros, which stand for an absent one too, are the state of a row that has seen
no token. Tokens at index new_length[b] and later are padding: they leave row b's final state alone, and what the
result holds there is arbitrary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import require_equal, require_indices
from graphwright.ir.types import StateType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


def final_state(tensor: TensorType, state: StateType | None, new_length: TensorType | None, batch: Dim) -> StateType:
    """The type of the final state; raises `IRTypeError` where the state given is not of it."""
    final = StateType("recurrent", tensor)
    if state is not None and state != final:
        raise IRTypeError(f"the state is {state}, expected {final}")
    if new_length is not None:
        require_indices("new_length", new_length, 1)
        require_equal("batch of new_length and of the sequence", new_length.shape[0], batch)
    return final


def real_tokens(new_length: Tensor | None, batch: int, length: int) -> Tensor:
    """Which tokens are no padding: bool [batch, length]."""
    if new_length is None:
        return torch.ones(batch, length, dtype=torch.bool)
    return torch.arange(length) < new_length[:, None]
