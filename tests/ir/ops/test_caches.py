"""Cache writes: contiguous ones against slices, rings against a loop over tokens."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import IRTypeError, UserError, ops
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.text import parse_type
from tests.ir.evaluation import evaluate
from tests.tensors import listed


def test_each_row_is_appended_at_its_own_place() -> None:
    cache = torch.full((3, 2, 9, 4), -1.0)
    new = torch.randn(3, 2, 2, 4)
    past = torch.tensor([0, 7, 3])
    found = evaluate(ops.kv_append, cache, new, past, state=(0,))
    for row, start in enumerate(listed(past)):
        assert torch.equal(found[row, :, start : start + 2], new[row])
        assert (found[row, :, :start] == -1).all()
        assert (found[row, :, start + 2 :] == -1).all()
    assert (cache == -1).all()


def test_a_full_cache_refuses() -> None:
    with pytest.raises(UserError, match="a cache of 4 positions cannot take position 5"):
        evaluate(ops.kv_append, torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 2, 2), torch.tensor([4]), state=(0,))


def appended(ring: torch.Tensor, new: torch.Tensor, past: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    types = [parse_type(f"state<ring f32[{', '.join(map(str, ring.shape))}]>")]
    (result,) = apply_reference(ops.kv_append, [ring, new, past, count], {}, types, {})
    return result


@pytest.mark.parametrize("capacity", [1, 3, 4, 9])
def test_a_ring_holds_the_last_tokens_of_each_row(capacity: int) -> None:
    generator = torch.Generator().manual_seed(capacity)
    ring = torch.randn(3, 2, capacity, 4, generator=generator)
    wanted, past = ring.clone(), torch.tensor([0, 1, 5])
    for count in ([4, 0, 7], [7, 7, 1], [1, 3, 0], [0, 0, 0], [5, 6, 7]):
        new = torch.randn(3, 2, 7, 4, generator=generator)
        for row, n in enumerate(count):
            new[row, :, n:] = float("nan")
            for i in range(n):
                wanted[row, :, (int(past[row]) + i) % capacity] = new[row, :, i]
        ring = appended(ring, new, past, torch.tensor(count))
        past = past + torch.tensor(count)
        assert torch.equal(ring, wanted)


@pytest.mark.parametrize("capacity", [1, 3, 4])
def test_ring_positions_follow_the_writes(capacity: int) -> None:
    wanted = torch.arange(capacity) - capacity
    for length in range(3 * capacity + 2):
        found = evaluate(ops.ring_positions, torch.tensor([length]), capacity=capacity)[0]
        seen = found >= 0
        assert torch.equal(found[seen], wanted[seen])
        assert torch.equal(seen, wanted >= 0)
        wanted[length % capacity] = length


def test_more_new_tokens_than_there_are_are_refused() -> None:
    with pytest.raises(UserError, match=r"new_length is \[3\] of 2 new tokens"):
        appended(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 2, 2), torch.tensor([0]), torch.tensor([3]))


@pytest.mark.parametrize(
    ("layout", "count", "problem"),
    [
        ("ring", None, "a ring cache without new_length"),
        ("contiguous", "i64[B]", "a contiguous cache with new_length"),
        ("ring", "i64[1]", "is not one number a row"),
        ("recurrent", None, "cannot append to a recurrent cache"),
    ],
)
def test_what_cannot_be_appended(layout: str, count: str | None, problem: str) -> None:
    texts = (f"state<{layout} f32[B, 2, 4, 8]>", "f32[B, 2, S, 8]", "i64[B]", count)
    with pytest.raises(IRTypeError, match=problem):
        ops.kv_append.infer([None if t is None else parse_type(t) for t in texts], {})
