"""Modules and arguments that cannot be captured, and what the user is told."""

from __future__ import annotations

import sys
import threading
from typing import Any, cast

import pytest
import torch

from graphwright.frontend import capture, hugging_face
from graphwright.ir import UnsupportedError, UserError
from tests.frontend.compare import Small
from tests.frontend.zoo import configuration


class Counter(torch.nn.Module):
    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return ids * self.calls


class Counting(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mode(-1).values


class Branching(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Inside(torch.nn.Module):
    """Another module two levels down."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Identity(), inner])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = ids.float()
        for layer in self.layers:
            x = layer(x)
        return x


def _refused(module: torch.nn.Module, message: str, *examples: torch.Tensor) -> None:
    with pytest.raises(UnsupportedError, match=message) as failure:
        capture(module, examples or None)
    assert "\n" not in str(failure.value)


def test_state_between_calls() -> None:
    _refused(Counter(), "'calls' is changed by forward")


def test_an_input_that_is_changed() -> None:
    class Overwriting(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.add_(1)

    _refused(Overwriting(), "is changed by forward", torch.ones(2, 3))


def test_an_operator_is_named_with_its_module() -> None:
    _refused(Inside(Counting()), r"aten\.mode\.default at layers\.1: there is no importer")


def test_a_failed_trace_is_told_with_its_module() -> None:
    message = r"Inside cannot be traced at layers\.1: its code branches on the values of a tensor; .* torch\.where"
    _refused(Inside(Branching()), message)


def test_a_loop_over_tokens_is_refused() -> None:
    class Loop(torch.nn.Module):
        """A recurrence spelt as a loop: traced, it is as long as its example."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            state = torch.zeros_like(x[:, 0])
            steps: list[torch.Tensor] = []
            for i in range(x.shape[1]):
                state = torch.tanh(state + x[:, i])
                steps.append(state)
            return torch.stack(steps, 1)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.loop = torch.nn.Embedding(16, 8), Loop()

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.loop(self.embed(ids))

    place = r"the sequence length \(axis 1 of 'input_ids'\) to 11 at \S*test_bad_modules\.py:\d+: a loop over it"
    _refused(Model(), f"Model cannot be traced: its code fixes {place}")


def test_weights_without_values() -> None:
    import transformers

    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(configuration("llama"))
    _refused(model, r"weight 'model\.embed_tokens\.weight' has no value")


def test_a_module_that_cannot_be_copied() -> None:
    model = Small(lambda m, x, i: x)
    cast(Any, model).lock = threading.Lock()
    _refused(model, "Small cannot be copied for tracing: .*lock")


def test_sparse_weights() -> None:
    model = Small(lambda m, x, i: x)
    model.register_buffer("table", torch.eye(3).to_sparse())
    _refused(model, "weight 'table' is a .*; only plain dense tensors")


@pytest.mark.parametrize("dtype", ["int8", "f8e4m3", "nonsense", torch.int32])
def test_dtypes_that_nothing_computes_in(dtype: str) -> None:
    with pytest.raises(
        UserError,
        match=r"is not one to compute in(:| \().*bf16, f16, f32, f64",
    ):
        capture(Small(lambda m, x, i: x), dtype=dtype)


def test_too_many_examples() -> None:
    with pytest.raises(UserError, match="2 example inputs for Counting, whose forward takes 1"):
        capture(Counting(), (torch.ones(2, 2), torch.ones(2, 2)))


def test_examples_that_are_not_tensors() -> None:
    with pytest.raises(UserError, match="example input 0 is a int: pass tensors"):
        capture(Counting(), [3])


def test_examples_by_a_name_that_forward_lacks() -> None:
    with pytest.raises(UserError, match="forward of Counting takes no 'y'; it takes x"):
        capture(Counting(), {"y": torch.ones(2, 2)})


def test_complex_inputs() -> None:
    with pytest.raises(UserError, match="example input x is complex: pass real and imaginary part"):
        capture(Counting(), {"x": torch.ones(2, 2, dtype=torch.complex64)})


def test_complex_outputs() -> None:
    class Turning(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.polar(x, x)

    _refused(Turning(), "output 'output' is complex; return torch.view_as_real of it", torch.ones(2, 3))


def test_complex_operators_that_are_not_known() -> None:
    class Product(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            z = torch.polar(x, x)
            return (z @ z.mT).real

    module = torch.nn.Sequential(torch.nn.Identity(), Product())
    message = r"aten\.matmul\.default at 1: .* write it with real and imaginary part"
    _refused(module, message, torch.ones(2, 3, 3))


def test_too_many_lengths() -> None:
    class Six(torch.nn.Module):
        def forward(self, *ids: torch.Tensor) -> torch.Tensor:
            return torch.stack([i.sum() for i in ids]).sum()

    with pytest.raises(UserError, match="the example inputs have 6 different lengths; at most 5"):
        capture(Six(), [torch.ones(2, 3 + i, dtype=torch.int64) for i in range(6)])


def test_a_broken_library_beside_transformers_is_no_matter_to_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no transformers model was ever made, its class is not asked for: that would import what is broken."""

    class Transformers:
        @property
        def PreTrainedModel(self) -> None:
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setitem(sys.modules, "transformers", Transformers())
    monkeypatch.delitem(sys.modules, "transformers.modeling_utils", raising=False)
    assert not hugging_face.is_pretrained(torch.nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"^transformers cannot load PreTrainedModel here: operator torchvision::nms"):
        hugging_face.class_named("PreTrainedModel")
