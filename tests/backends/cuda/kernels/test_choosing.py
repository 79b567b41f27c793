"""Tokens chosen on a GPU, interpreted: the reference's and, by the same numbers, those that the host draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphwright.ir.dialects.cuda.choosing import choose_tokens, next_length
from graphwright.runtime.options import GenerationOptions
from graphwright.runtime.sampling import distribution, draw, number_at
from tests.emulator.interpreter import interpret

CHOOSING = "graphwright.backends.cuda.kernels.choosing"
V = 90


def chosen(
    logits: torch.Tensor, past: list[int], sampling: list[list[float]], sampling_key: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens of logits [rows, N, V] by the kernel, and by the reference."""
    rows, count, _ = logits.shape
    given = {
        "logits": logits,
        "past_length": torch.tensor(past),
        "logit_positions": torch.arange(count).expand(rows, count).contiguous(),
        "sampling": torch.tensor(sampling),
        "sampling_key": sampling_key,
    }
    y = torch.full((rows, count), 7)
    interpret(f"{CHOOSING}:choose_tokens", rows * count, **given, y=y, N=count, V=V, BLOCK=32, DRAWN=64, PDL=False)
    return y, choose_tokens.evaluate([*given.values()], {})


def test_at_temperature_0_it_is_the_first_of_the_largest() -> None:
    x = torch.randn(3, 2, V, generator=torch.Generator().manual_seed(0))
    x[0, 0, 5] = x[0, 0, 40] = 9
    x[0, 1, 89] = 9
    x[1, 0, 3] = float("nan")
    x[1, 1, 64] = float("inf")
    x[2, 0] = float("-inf")
    found, want = chosen(x, [3, 4, 5], [[0, 0, 1, 0]] * 3, torch.zeros(3, 2, dtype=torch.int64))
    assert [int(place) for place in found.flatten()] == [5, 89, -1, -1, -1, int(x[2, 1].argmax())]
    assert torch.equal(found, want)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p"),
    [(1.3, 0, 1, 0), (0.7, 11, 1, 0), (1, 0, 0.8, 0), (1.5, 40, 0.9, 0.02), (1, 0, 1, 0.1), (2, 7, 0.999, 0)],
)
def test_drawn_tokens_are_those_of_the_host(temperature: float, top_k: int, top_p: float, min_p: float) -> None:
    """Numbers of few values, so that many are equal, where only the order of the vocabulary decides who stays."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 12, V, generator=generator)
    x[2:] = torch.randint(-2, 3, (2, 12, V), generator=generator).float()
    x[1, :, ::2] = float("-inf")
    sampling_key = torch.randint(-(2**63), 2**63 - 1, (4, 2), generator=generator)
    past = [0, 9, 2**33, 1000]
    found, want = chosen(x, past, [[temperature, top_k, top_p, min_p]] * 4, sampling_key)
    assert torch.equal(found, want)
    options = GenerationOptions(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    for row, key in enumerate(sampling_key.numpy().view(np.uint64)):
        for column in range(12):
            number = number_at(key, past[row] + column + 1)
            assert int(found[row, column]) == draw(distribution(x[row, column].numpy(), options), number)
    assert len({int(token) for token in found.flatten()}) > 12, "they are drawn"


def test_the_next_length_is_behind_the_new_tokens() -> None:
    past, new = torch.tensor([3, 0, 2**40]), torch.tensor([1, 2, 1])
    tokens = torch.zeros(3, 1, dtype=torch.int64)
    want = next_length.evaluate([past, new, tokens], {})
    # Over the lengths that it reads, as the runtime has it.
    interpret(
        f"{CHOOSING}:next_length", 3, past_length=past, new_length=new, tokens=tokens, y=past, PDL=False
    )  # fmt: skip
    assert torch.equal(past, want)
