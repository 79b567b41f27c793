"""How modules are called: by keyword, with other arguments fixed, in the element type and at the lengths they take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from graphwright.frontend import capture
from graphwright.frontend.inputs import Examples
from graphwright.ir import Notice, Program, UnsupportedError, UserError, run
from tests.models.answering import Base
from tests.models.handwritten import LONGEST, VOCABULARY
from tests.tensors import listed, manual_seed

IDS = torch.zeros(2, 5, dtype=torch.int64)


class ByKeyword(Base):
    def forward(self, *, input_ids: Tensor, targets: Tensor | None = None, use_cache: bool = False) -> Tensor:
        return self.reference(input_ids)


class OneOfMany(Base):
    """All keywords have defaults: a name tells."""

    def forward(self, *, positions: Tensor | None = None, idx: Tensor | None = None) -> Tensor:
        assert idx is not None
        return self.reference(idx)


class AnyArguments(Base):
    def forward(self, *args: Tensor, **options: Any) -> Tensor:
        return self.reference(*args)


class Narrow(Base):
    def forward(self, ids: Tensor) -> Tensor:
        assert ids.dtype is torch.int32
        return self.reference(ids)


class StartPosition(Base):
    def forward(self, tokens: Tensor, start_pos: int) -> Tensor:
        assert start_pos == 0
        return self.reference(tokens)


class SecondArgument(Base):
    def forward(self, mask: Tensor | None = None, ids: Tensor | None = None) -> Tensor:
        assert mask is None
        assert ids is not None
        return self.reference(ids)


class AtLeast(Base):
    def forward(self, ids: Tensor) -> Tensor:
        assert ids.shape[1] > 4, "too short"
        return self.reference(ids)


class AtLeastTwenty(Base):
    def forward(self, ids: Tensor) -> Tensor:
        if ids.shape[1] < 20:
            raise ValueError("too short")
        return self.reference(ids)


class AtMostSix(Base):
    def forward(self, ids: Tensor) -> Tensor:
        assert ids.shape[1] <= 6, "too long"
        return self.reference(ids)


def _captured(cls: type[Base], examples: Examples | None = None) -> tuple[Base, Program]:
    manual_seed(0)
    module = cls().eval()
    return module, capture(module, examples)


@pytest.mark.parametrize(
    ("cls", "examples"),
    [
        (ByKeyword, None),
        (OneOfMany, None),
        (AnyArguments, None),
        (Narrow, IDS.int()),
        (StartPosition, {"tokens": IDS, "start_pos": 0}),
        (StartPosition, (IDS, 0)),
        (SecondArgument, {"ids": IDS}),
        (AtMostSix, None),
    ],
)
def test_called_as_it_asks(cls: type[Base], examples: Examples | None) -> None:
    _assert_equal(*_captured(cls, examples), longest=6 if cls is AtMostSix else LONGEST)


@pytest.mark.parametrize(("cls", "least"), [(AtLeast, 5), (AtLeastTwenty, 20)])
def test_a_least_length_that_is_asserted(cls: type[Base], least: int) -> None:
    """The other lengths have no answer of the module's own, so there is none to differ from."""
    with pytest.warns(Notice, match=f"refuses sequences of fewer than {least} tokens"):
        module, program = _captured(cls)
    _assert_equal(module, program, longest=LONGEST)


def _assert_equal(module: Base, program: Program, longest: int) -> None:
    ids = torch.randint(0, VOCABULARY, (3, 6))
    with torch.no_grad():
        expected = module.reference(ids)
    torch.testing.assert_close(run(program.graphs["forward"], {"input_ids": ids})["logits"], expected)
    assert program.metadata["context_length"] == longest


def test_an_argument_without_a_value() -> None:
    message = r"takes 'start_pos' beside token ids: give it a default, or example inputs with a value .*'tokens': ids"
    with pytest.raises(UserError, match=message):
        _captured(StartPosition)


def test_which_argument_takes_the_ids() -> None:
    class Unknown(Base):
        def forward(self, *, left: Tensor | None = None, right: Tensor | None = None) -> None: ...

    with pytest.raises(UserError, match="takes left, right: say by example inputs which are the token ids"):
        _captured(Unknown)


def test_a_branch_on_the_length_is_no_assertion() -> None:
    class Branching(Base):
        def forward(self, ids: Tensor) -> Tensor:
            logits = self.reference(ids)
            return 2 * logits if ids.shape[1] < 5 else logits

    with pytest.raises(UnsupportedError, match="branches on the sequence length; as traced it takes 5 or more"):
        _captured(Branching)


def test_an_error_of_the_modules_own_names_its_line() -> None:
    class Wrong(Base):
        def forward(self, ids: Tensor) -> Tensor:
            raise ValueError("never")

    with pytest.raises(UnsupportedError, match=r"traced: ValueError: never \(\S*test_calling\.py:\d+\)"):
        _captured(Wrong)


def test_fixed_arguments_of_a_function() -> None:
    class Scaled(torch.nn.Module):
        def forward(self, x: Tensor, factor: float, name: str | None) -> Tensor:
            return x * factor

    program = capture(Scaled(), {"x": torch.ones(2, 3), "factor": 2.5, "name": None})
    assert [v.name for v in program.graphs["forward"].inputs] == ["x"]
    assert listed(run(program.graphs["forward"], {"x": torch.ones(1, 3)})["output"]) == [[2.5] * 3]
