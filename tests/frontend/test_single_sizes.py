"""Modules that compute something else at one single size, which a trace with free sizes does not show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from graphwright.frontend import build, capture, single_sizes
from graphwright.frontend.single_sizes import Trace
from graphwright.ir import Interpreter, UnsupportedError
from tests.frontend.compare import Small, assert_same_function, tokens
from tests.models.handwritten import NanoGPT
from tests.tensors import unflatten

Function = Callable[[Small, Tensor, Tensor], Tensor]

DIFFERENT: dict[str, tuple[Function, str]] = {
    "one length": (lambda m, x, i: x * 2 if x.shape[1] == 4 else x, "a sequence of 4"),
    "two lengths": (lambda m, x, i: x * 2 if x.shape[1] in (3, 5) else x, "a sequence of 3"),
    "a multiple of it": (lambda m, x, i: x * 2 if 2 * x.shape[1] == 12 else x, "a sequence of 6"),
    "a number of python": (lambda m, x, i: x * (0.5 if x.shape[1] == 6 else 0.25), "a sequence of 6"),
    "a whole number": (lambda m, x, i: x.roll(3 if x.shape[1] == 9 else 4, -1), "a sequence of 9"),
    "one batch": (lambda m, x, i: x * 2 if x.shape[0] == 3 else x, "a batch of 3"),
    "one number of tokens": (lambda m, x, i: x * 2 if i.numel() == 24 else x, "a batch of 1 and a sequence of 24"),
    "as many rows as tokens": (lambda m, x, i: x * 2 if x.shape[0] == x.shape[1] else x, "a batch of 1 and .* of 1"),
    "one token": (lambda m, x, i: x * 2 if x.shape[1] == 1 else x, "a sequence of 1"),
    "more than one token": (lambda m, x, i: x.cumsum(1) if x.shape[1] > 1 else x + 1, "a sequence of 1"),
    "one row": (lambda m, x, i: x.flip(1) if x.shape[0] == 1 else x, "a batch of 1"),
    "one token in all": (lambda m, x, i: x * 2 if i.numel() == 1 else x, "a batch of 1 and a sequence of 1"),
    "an axis that goes": (lambda m, x, i: x.squeeze(1) if x.shape[1] == 1 else x, "a sequence of 1"),
    "an axis that goes by itself": (lambda m, x, i: x.squeeze(1), "a sequence of 1"),
    "any axis that goes": (lambda m, x, i: x.squeeze(), "a batch of 1"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_another_function_at_a_single_size_is_refused(name: str) -> None:
    function, words = DIFFERENT[name]
    with pytest.raises(UnsupportedError, match=f"computes something else at {words} than at other sizes") as failure:
        capture(Small(function))
    # the line is that of the lambda, in this file
    assert f"({Path(__file__)}:" in str(failure.value)
    assert "\n" not in str(failure.value)


def test_too_many_single_sizes() -> None:
    with pytest.raises(UnsupportedError, match=r"asks for 9 single sizes .*; up to 8 are tried"):
        capture(Small(lambda m, x, i: x * 2 if x.shape[1] in (3, 4, 5, 6, 7, 8, 9, 10, 12) else x))


def test_a_single_size_that_cannot_be_traced() -> None:
    def branching(m: Small, x: Tensor, i: Tensor) -> Tensor:
        return (x if x.sum() > 0 else -x) if x.shape[1] == 4 else x

    with pytest.raises(UnsupportedError, match="branches on the values of a tensor"):
        capture(Small(branching))


def _attention(m: Small, x: Tensor, hidden: bool) -> Tensor:
    scores = x @ x.transpose(1, 2)
    length = x.shape[1]
    if hidden:
        scores = scores.masked_fill(m.get_buffer("lower")[:length, :length] == 0, float("-inf"))
    return scores.softmax(-1) @ x


HELD: dict[str, Callable[[Small, Tensor, int], Any]] = {
    "tensors in a list": lambda m, x, n: x * cast("Any", m).held[n],
    "tensors of a file": lambda m, x, n: x * ONE_AND_TWO[n],
    "arrays of numpy": lambda m, x, n: x * torch.as_tensor(ARRAYS[n]),
    "numbers of numpy": lambda m, x, n: x * torch.as_tensor(ARRAYS[n][0]),
    "attributes": lambda m, x, n: getattr(torch.view_as_complex(unflatten(x, -1, (4, 2))), "imag" if n else "real"),
    "outputs": lambda m, x, n: SimpleNamespace(logits=(x + 1, x + 2)[n]),
}
ONE_AND_TWO = [torch.tensor(1.0), torch.tensor(2.0)]
ARRAYS = [np.full(1, 1, np.float32), np.full(1, 2, np.float32)]


@pytest.mark.parametrize("name", HELD)
def test_what_is_no_parameter_is_told_apart(name: str) -> None:
    model = Small(lambda m, x, i: HELD[name](m, x, 1 if x.shape[1] == 8 else 0))
    cast("Any", model).held = [torch.tensor(1.0), torch.tensor(2.0)]
    with pytest.raises(UnsupportedError, match="computes something else at a sequence of 8"):
        capture(model)


SAME: dict[str, Function] = {
    # one token sees itself, with a mask and without
    "a mask that one token does without": lambda m, x, i: _attention(m, x, x.shape[1] > 1),
    "another spelling": lambda m, x, i: x + x if x.shape[1] == 4 else x * 2,
    "longer than the context": lambda m, x, i: (
        (x * 2 if x.shape[1] == 99 else x) * m.get_buffer("lower")[: x.shape[1], :1]
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_function_at_a_single_size_compiles(name: str) -> None:
    model = Small(SAME[name])
    assert_same_function(capture(model), model, ((1, 1), (2, 4)))


def test_a_size_that_the_module_refuses_itself() -> None:
    def refusing(m: Small, x: Tensor, i: Tensor) -> Tensor:
        if x.shape[1] == 5:
            raise ValueError("not five")
        return x * 2

    model = Small(refusing)
    ids = tokens(2, 4)
    program = capture(model)
    got = Interpreter().run(program.graphs["forward"], {"input_ids": ids})["logits"]
    assert torch.equal(got, model(ids))


def test_what_torch_does_otherwise_at_a_size_costs_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A buffer cut to its whole length is not cut: torch asks, but the module's code does the same."""
    tried: list[object] = []
    excluded = single_sizes.excluded_sizes

    def counted(traced: Trace, generic: Mapping[str, int], context: object) -> dict[tuple[tuple[str, int], ...], str]:
        found = excluded(traced, generic, context)
        tried.extend(found)
        return found

    def refuse(*arguments: object) -> bool:
        raise AssertionError("compared on numbers")

    monkeypatch.setattr(single_sizes, "excluded_sizes", counted)
    monkeypatch.setattr(build, "compute_the_same", refuse)
    capture(NanoGPT().eval())
    assert tried == [
        (("B", 2), ("S", 64)),
        (("B", 1), ("S", 11)),
        (("B", 2), ("S", 1)),
        (("B", 1), ("S", 1)),
    ]
