"""How far a captured program may be from the module it was captured from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

from graphwright.ir import Interpreter, Program, parse_program, print_program
from tests.tensors import manual_seed

SLACK = 3
"""Sums in another order: the interpreter's error may exceed eager PyTorch's by chance, not by an order of magnitude."""

SHAPES = ((1, 1), (3, 7), (1, 29))
"""Batches and lengths, none of them traced; the longest is past every sliding window of the zoo."""


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        output = model(ids)
    return output if isinstance(output, torch.Tensor) else output.logits


def tokens(batch: int, length: int, vocabulary: int = 256) -> torch.Tensor:
    return torch.randint(0, vocabulary, (batch, length), generator=torch.Generator().manual_seed(batch * 100 + length))


def assert_same_function(
    program: Program, model: Any, shapes: Sequence[tuple[int, int]] = SHAPES, vocabulary: int = 256
) -> None:
    """The program's logits are as close to the model's in float64 as the model's own in its dtype are.

    The floor is the spacing of the dtype at the largest logit: eager PyTorch may happen to be exact.
    """
    exact = copy.deepcopy(model).double()
    interpreter = Interpreter()
    for batch, length in shapes:
        ids = tokens(batch, length, vocabulary)
        eager, truth = logits(model, ids), logits(exact, ids)
        got = interpreter.run(program.graphs["forward"], {"input_ids": ids})["logits"]
        assert got.dtype == eager.dtype
        assert got.shape == eager.shape
        floor = torch.finfo(eager.dtype).eps * float(truth.abs().max())
        allowed = SLACK * max(float((eager - truth).abs().max()), floor)
        assert float((got - truth).abs().max()) <= allowed, f"batch {batch}, length {length}"


def assert_round_trip(program: Program) -> None:
    """The printed program reads back to the same text."""
    text = print_program(program)
    assert print_program(parse_program(text)) == text


def operators(program: Program) -> list[str]:
    return [op.name for op in program.graphs["forward"]]


class Small(torch.nn.Module):
    """Token ids to `function(module, embedded, ids)`: one idea of a model at a time."""

    lower: torch.Tensor

    def __init__(
        self, function: Callable[[Small, torch.Tensor, torch.Tensor], object], width: int = 8, vocabulary: int = 256
    ) -> None:
        super().__init__()
        manual_seed(0)
        self.embed = torch.nn.Embedding(vocabulary, width)
        self.weight = torch.nn.Parameter(torch.randn(width, width) / width**0.5)
        self.bias = torch.nn.Parameter(torch.randn(width))
        self.register_buffer("lower", torch.tril(torch.ones(64, 64)))
        self.function = function

    def forward(self, input_ids: torch.Tensor) -> object:
        return self.function(self, self.embed(input_ids), input_ids)
