"""Recurrent layers of transformers: proved by comparison, refused when unknown.

That each model is captured with a dynamic sequence is tested with what is compiled of it, in `tests/models`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphwright.frontend import capture, hugging_face_recurrence
from graphwright.frontend.hugging_face_recurrence import REPLACEMENTS, recurrences_as_operators
from graphwright.ir import UnsupportedError
from tests.frontend.compare import assert_same_function
from tests.models.recurrent_zoo import make

LIBRARY = "transformers.models"


def test_mamba_in_bfloat16_keeps_its_state_in_float32() -> None:
    program = capture(make("mamba2").to(torch.bfloat16))
    (scan,) = [op for op in program.graphs["forward"] if op.name == "linear_recurrence"]
    assert str(scan.results[1].type) == "state<recurrent f32[B, 8, 16, 16]>"
    assert {str(v.tensor.dtype) for v in scan.inputs} == {"f32"}


def test_the_library_is_left_as_it_was() -> None:
    module = importlib.import_module(f"{LIBRARY}.mamba.modeling_mamba")
    before = dict(vars(module))
    capture(make("mamba"))
    assert {n: v for n, v in vars(module).items() if before.get(n) is not v} == {}


@pytest.fixture
def mamba_module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    hugging_face_recurrence._difference.cache_clear()
    module: Any = importlib.import_module(f"{LIBRARY}.mamba.modeling_mamba")
    with monkeypatch.context() as patch:
        patch.setattr(module, "mamba_selective_scan", module.mamba_selective_scan)
        yield module
    hugging_face_recurrence._difference.cache_clear()


def _altered(module: Any, change: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """The library's scan under its role, with another result."""
    original = module.mamba_selective_scan.__wrapped__
    func_name = "selective_scan_fn"

    def selective_scan_fn(
        hidden_states: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
        **kwargs: Any,
    ) -> Any:
        assert func_name
        return change(original(hidden_states, dt, A, B, C, D, z, delta_bias, delta_softplus))

    selective_scan_fn.__module__ = module.__name__
    return selective_scan_fn


ALTERATIONS: list[Callable[[Tensor], Tensor]] = [
    lambda y: y * 1.001,
    lambda y: y + 0.01,
    lambda y: y.flip(2),
    lambda y: y[:, :, :1].expand_as(y),
]


@pytest.mark.parametrize("change", ALTERATIONS)
def test_a_function_that_computes_something_else_is_refused(
    mamba_module: Any, change: Callable[[Tensor], Tensor]
) -> None:
    mamba_module.mamba_selective_scan = _altered(mamba_module, change)
    with pytest.raises(UnsupportedError, match=r"is not the selective_scan_fn that is known: .* other numbers"):
        capture(make("mamba"))


def test_the_same_function_written_anew_is_taken(mamba_module: Any) -> None:
    original, model = mamba_module.mamba_selective_scan, make("mamba")
    mamba_module.mamba_selective_scan = _altered(mamba_module, lambda y: y)
    program = capture(model)
    mamba_module.mamba_selective_scan = original
    assert_same_function(program, model)


def _call(role: str, changes: dict[str, Any]) -> None:
    module, name = {
        "selective_scan_fn": ("mamba.modeling_mamba", "mamba_selective_scan"),
        "mamba_chunk_scan_combined": ("mamba2.modeling_mamba2", "mamba2_chunk_scan"),
        "chunk_gated_delta_rule": ("qwen3_next.modeling_qwen3_next", "torch_chunk_gated_delta_rule"),
        "chunk_kda": ("kimi_linear.modeling_kimi_linear", "chunk_kimi_delta_attention"),
        "rwkv_linear_attention": ("rwkv.modeling_rwkv", "rwkv_linear_attention"),
    }[role]
    library = importlib.import_module(f"{LIBRARY}.{module}")

    class Layer(nn.Module):
        def forward(self) -> Any:
            return getattr(library, name)(**{**REPLACEMENTS[role].probes(torch.randn)[-1], **changes})

    Layer.__module__ = library.__name__
    layer = Layer()
    with recurrences_as_operators(layer):
        layer()


@pytest.mark.parametrize("role", REPLACEMENTS)
def test_every_replacement_equals_the_library(role: str) -> None:
    _call(role, {})


@pytest.mark.parametrize(
    ("role", "changes"),
    [
        ("selective_scan_fn", {"return_last_state": True}),
        ("selective_scan_fn", {"position_ids": torch.zeros(2, 7)}),
        ("mamba_chunk_scan_combined", {"initial_states": torch.zeros(2, 6, 4, 5)}),
        ("mamba_chunk_scan_combined", {"return_final_states": True}),
        ("mamba_chunk_scan_combined", {"z": torch.zeros(2, 3, 6, 4)}),
        ("mamba_chunk_scan_combined", {"seq_idx": torch.zeros(2, 3)}),
        ("chunk_gated_delta_rule", {"initial_state": torch.zeros(2, 4, 5, 3)}),
        ("chunk_gated_delta_rule", {"output_final_state": True}),
        ("chunk_gated_delta_rule", {"cu_seqlens": torch.zeros(2)}),
        ("rwkv_linear_attention", {"return_state": True}),
        ("rwkv_linear_attention", {"state": [torch.zeros(2, 6)] * 3}),
    ],
)
def test_arguments_that_are_not_modelled_are_refused(role: str, changes: dict[str, Any]) -> None:
    (argument,) = changes
    with pytest.raises(
        hugging_face_recurrence.NotModelledError, match=f"{role} is given '{argument}', which capture does not model"
    ):
        _call(role, changes)


def test_a_refusal_inside_a_model_names_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("mamba2")
    module = importlib.import_module(f"{LIBRARY}.mamba2.modeling_mamba2")
    original = module.Mamba2Mixer.forward

    def forward(self: Any, hidden_states: Tensor, *rest: Any, **named: Any) -> Any:
        return original(self, hidden_states, *rest, **{**named, "documents": torch.zeros(1)})

    monkeypatch.setattr(module.Mamba2Mixer, "forward", forward)
    message = r"cannot be traced at backbone\.layers\.0\.mixer: NotModelledError: mamba_chunk_scan_combined is given"
    with pytest.raises(UnsupportedError, match=message):
        capture(model)


def test_a_model_that_rescales_its_weights_while_it_runs_is_refused() -> None:
    message = r"'rwkv\.blocks\.0\.attention\.output\.weight' is changed by forward"
    with pytest.raises(UnsupportedError, match=message):
        capture(make("rwkv", rescale_every=1))
