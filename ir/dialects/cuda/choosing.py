"""The next token, chosen where the logits are, and what the step after it begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.declare import op
from graphwright.ir.dims import Dim
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.ops.rules import require_rank
from graphwright.ir.types import DType, TensorType

if TYPE_CHECKING:
    from torch import Tensor


@op("cuda.choose_tokens")
def choose_tokens(
    logits: TensorType,
    past_length: TensorType,
    logit_positions: TensorType,
    sampling: TensorType,
    sampling_key: TensorType,
) -> TensorType:
    """A token of each of logits f32 [batch, tokens, vocabulary]: i64 [batch, tokens].

    `sampling` f32 [batch, 4] are a row's temperature, top k (0: all), top p and min p. At temperature 0 the token is
    the place of the largest logit, the first of equal ones. Otherwise it is drawn. Of logits, less the largest, over
    the temperature, the k largest stay; of these the fewest that have the share p of the probability, likeliest first
    and the first of equal ones; and of these those that are at least min p times as likely as the likeliest. The token
    is the first, in the order of the vocabulary, up to which their probabilities sum to more than a number in [0, 1).
    That number is a function of `sampling_key` i64 [batch, 2], the 128 bits of a key, and the token's place in its row,
    `past_length` i64 [batch] + `logit_positions` i64 [batch, tokens] + 1: a counter-based generator, Philox 4x64-10
    (Salmon et al. 2011), so that no state is kept from one token to the next.

    The token is -1 where the largest logit is not finite, or any of them is not a number.
    """
    require_rank("logits", logits, 3)
    batch, tokens, _ = logits.shape
    if logits.dtype is not DType.F32:
        raise IRTypeError(f"logits are {logits}, expected f32")
    for name, type, dtype, shape in (
        ("past_length", past_length, DType.I64, (batch,)),
        ("logit_positions", logit_positions, DType.I64, (batch, tokens)),
        ("sampling", sampling, DType.F32, (batch, Dim.of(4))),
        ("sampling_key", sampling_key, DType.I64, (batch, Dim.of(2))),
    ):
        expected = TensorType(dtype, shape)
        if type != expected:
            raise IRTypeError(f"{name} is {type}, expected {expected}")
    return TensorType(DType.I64, (batch, tokens))


@choose_tokens.reference
def choose_tokens_reference(
    logits: Tensor, past_length: Tensor, logit_positions: Tensor, sampling: Tensor, sampling_key: Tensor
) -> Tensor:
    # As numpy does, and torch: not a number is larger than any.
    chosen = torch.where(logits.amax(-1).isfinite(), logits.argmax(-1), -1)
    batch, tokens = chosen.shape
    for row in range(batch):
        key = sampling_key[row]
        for column in range(tokens):
            if sampling[row, 0] > 0 and chosen[row, column] >= 0:
                place = int(past_length[row] + logit_positions[row, column]) + 1
                chosen[row, column] = _drawn(logits[row, column], sampling[row], _number(key, place))
    return chosen


@choose_tokens.cost
def choose_tokens_cost(op: Op) -> Cost:
    # Of one pass over the logits, which greedy decoding makes: drawing makes up to twenty, over what the cache holds.
    return default_cost(op, op.required("logits").type.elements)


def _number(key: Tensor, place: int) -> float:
    import numpy as np  # heavy: reading and printing IR does without it

    words = key.numpy().view(np.uint64)
    return float(np.random.Generator(np.random.Philox(key=words, counter=place)).random())


def _drawn(logits: Tensor, sampling: Tensor, number: float) -> int:
    scaled = (logits - logits.max()) / sampling[0]
    most, share, least = int(sampling[1]), float(sampling[2]), float(sampling[3])
    order = scaled.argsort(descending=True, stable=True)
    if most:
        order = order[:most]
    weights = scaled.exp().double()
    if share < 1:
        sums = weights[order].cumsum(0)
        order = order[: int((sums < share * sums[-1]).sum()) + 1]
    kept = order[scaled.exp()[order] >= least].sort().values
    sums = weights[kept].cumsum(0)
    # Rounding may carry the number up to the total: never to a token of weight 0.
    index = min(int((sums <= number * sums[-1]).sum()), int((sums < sums[-1]).sum()))
    return int(kept[index])


@op("cuda.next_length")
def next_length(past_length: TensorType, new_length: TensorType, tokens: TensorType) -> TensorType:
    """How many tokens each row's cache holds behind a step: past_length + new_length, i64 [batch].

    It may be written over `past_length`. So it takes the tokens that the step chose, i64 [batch, tokens]: when they are
    there, nothing of the step reads `past_length` any more.
    """
    expected = TensorType(DType.I64, tokens.shape[:1])
    if (past_length, new_length, tokens.dtype) != (expected, expected, DType.I64):
        raise IRTypeError(f"lengths are {past_length} and {new_length} for tokens {tokens}, expected {expected}")
    return expected


@next_length.reference
def next_length_reference(past_length: Tensor, new_length: Tensor, tokens: Tensor) -> Tensor:
    return past_length + new_length


@next_length.cost
def next_length_cost(op: Op) -> Cost:
    return default_cost(op, op.required("past_length").type.elements)
