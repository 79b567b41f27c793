"""Modules and arguments that cannot be captured, and what the user is told."""

from __future__ import annotations

import threading

import pytest
import torch

from graphwright.frontend import capture
from graphwright.ir import UnsupportedError, UserError
from tests.frontend.compare import Small
from tests.frontend.zoo import configuration


class Counter(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return ids * self.calls


class Sorting(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sort(-1).values


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
    _refused(Inside(Sorting()), r"aten\.sort\.default at layers\.1: there is no importer")


def test_a_failed_trace_is_told_with_its_module() -> None:
    _refused(Inside(Branching()), r"Inside cannot be traced at layers\.1: GuardOnDataDependentSymNode: ")


def test_experts_are_refused_by_name() -> None:
    import transformers

    config = transformers.MixtralConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2
    )
    config.vocab_size = 16
    _refused(transformers.MixtralForCausalLM(config), r"aten\.topk\.default at model\.layers\.0\.mlp\.gate")


def test_a_loop_over_the_tokens_is_refused() -> None:
    import transformers

    config = transformers.RecurrentGemmaConfig(
        hidden_size=32, lru_width=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=16
    )
    _refused(
        transformers.RecurrentGemmaForCausalLM(config),
        "RecurrentGemmaForCausalLM cannot be traced: its code fixes axis 1 of input 0",
    )


def test_weights_without_values() -> None:
    import transformers

    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(configuration("llama"))
    _refused(model, r"weight 'model\.embed_tokens\.weight' has no value")


def test_a_module_that_cannot_be_copied() -> None:
    model = Small(lambda m, x, i: x)
    model.lock = threading.Lock()
    _refused(model, "Small cannot be copied for tracing: .*lock")


def test_sparse_weights() -> None:
    model = Small(lambda m, x, i: x)
    model.register_buffer("table", torch.eye(3).to_sparse())
    _refused(model, "weight 'table' is a .*; only plain dense tensors")


@pytest.mark.parametrize("dtype", ["int8", "f8e4m3", "nonsense", torch.int32])
def test_dtypes_that_nothing_computes_in(dtype: str) -> None:
    with pytest.raises(UserError, match="is not one to compute in: use one of bf16, f16, f32, f64"):
        capture(Small(lambda m, x, i: x), dtype=dtype)


def test_too_many_examples() -> None:
    with pytest.raises(UserError, match="2 example inputs for Sorting, whose forward takes 1"):
        capture(Sorting(), (torch.ones(2, 2), torch.ones(2, 2)))


def test_examples_that_are_not_tensors() -> None:
    with pytest.raises(UserError, match="example input 0 is a int: pass tensors"):
        capture(Sorting(), [3])
