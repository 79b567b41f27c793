"""Models that do not generate, compiled to plain callables, against the eager module at sizes that were not traced."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import graphwright
from graphwright.frontend import capture
from graphwright.ir import Program
from tests.captures import shared
from tests.models.encoders import ENCODERS, Inputs, make
from tests.pretrained import save_pretrained
from tests.tensors import manual_seed

SIZES = ((1, 3), (4, 23))
"""Batch and length; the traced ones are 2 and 11. The longer one is past every local window."""
EAGER = ("bert", "modernbert", "t5-encoder", "vit", "t5")
"""Those that are traced with transformers' own spelling of attention too."""

NO_SDPA = ("deberta-v2",)


def implementation(name: str) -> str:
    return "eager" if name in NO_SDPA else "sdpa"


@cache
def captured(name: str, attention: str) -> Program:
    return shared(f"encoder {name} {attention}", lambda: capture(make(name, attention), ENCODERS[name].inputs(2, 11)))


def named(output: object) -> dict[str, Tensor]:
    """The tensors of a model's output that a captured program gives."""
    logits = getattr(output, "logits", None)
    found = {"logits": logits} if logits is not None else dict(cast("Mapping[str, object]", output))
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def doubled(inputs: Inputs) -> Inputs:
    return {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}


def seen(value: Tensor, inputs: Inputs) -> Tensor:
    """The elements that belong to real tokens: what a model makes of padding means nothing."""
    mask = inputs.get("attention_mask")
    return value[mask.bool()] if mask is not None and value.shape[:2] == mask.shape else value


def check(
    function: graphwright.CompiledFunction,
    model: torch.nn.Module,
    inputs: Inputs,
    reference: torch.nn.Module | None = None,
) -> None:
    """`reference` is a model of the same function to run in float64, by default the model."""
    with torch.no_grad():
        eager = named(model(**inputs))
        exact = named(copy.deepcopy(reference or model).double()(**doubled(inputs)))
    found = function(**{name: value.numpy() for name, value in inputs.items()})
    assert found.keys() == eager.keys()
    for name, value in found.items():
        got, wanted, own = (seen(v, inputs) for v in (torch.as_tensor(value), exact[name], eager[name]))
        assert got.dtype == own.dtype
        # four times eager float32's own distance from float64: sums as long, in another order
        bound = 4 * max(float((own - wanted).abs().max()), torch.finfo(torch.float32).eps * float(wanted.abs().max()))
        assert float((got - wanted).abs().max()) <= bound, name


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", ENCODERS)
def test_equals_eager(name: str, dialect: str) -> None:
    program = captured(name, implementation(name))
    function = graphwright.compile_function(program, dialect=dialect, threads=1)
    for batch, length in SIZES:
        check(function, make(name, implementation(name)), ENCODERS[name].inputs(batch, length))


@pytest.mark.parametrize("name", EAGER)
def test_eager_attention_equals_eager(name: str) -> None:
    function = graphwright.compile_function(captured(name, "eager"), threads=1)
    for batch, length in SIZES:
        # in float64 transformers' own spelling hides by a number that its softmax in float32 takes for minus infinity
        check(function, make(name, "eager"), ENCODERS[name].inputs(batch, length), make(name))


class _Filled(torch.nn.Module):
    """Attention in which padding neither sees nor is seen, hidden by a finite number, as DeBERTa spells it."""

    def __init__(self, low: float) -> None:
        super().__init__()
        manual_seed(0)
        self.low = low
        self.embed = torch.nn.Embedding(50, 16)
        self.q, self.k, self.v = (torch.nn.Linear(16, 16) for _ in range(3))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        x = self.embed(input_ids)
        q, k, v = (f(x).unflatten(-1, (2, 8)).transpose(1, 2) for f in (self.q, self.k, self.v))
        kept = attention_mask[:, None, None, :].bool() & attention_mask[:, None, :, None].bool()
        scores = (q @ k.transpose(-1, -2)).masked_fill(~kept, self.low)
        return {"output": (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)}


LOWEST = torch.finfo(torch.float32).min


@pytest.mark.parametrize(
    ("low", "backend", "dialect"),
    [*((low, "onnx", d) for low in (LOWEST, -1e9, -1e4) for d in ("ort", "portable")), (LOWEST, "tvm", "ort")],
)
def test_rows_of_padding_average_all_values(low: float, backend: str, dialect: str) -> None:
    model = _Filled(low).eval()
    inputs = {
        "input_ids": torch.arange(21).reshape(3, 7),
        "attention_mask": torch.tensor([[0, 0, 0, 1, 1, 1, 1], [1] * 7, [0] * 7]),
    }
    options: dict[str, Any] = {"dialect": dialect} if backend == "onnx" else {}
    function = graphwright.compile_function(capture(model, inputs), backend=backend, threads=1, **options)
    found = torch.as_tensor(function(**{name: value.numpy() for name, value in inputs.items()})["output"])
    with torch.no_grad():
        eager, exact = model(**inputs)["output"], copy.deepcopy(model).double()(**inputs)["output"]
    bound = 4 * max(float((eager - exact).abs().max()), torch.finfo(torch.float32).eps * float(exact.abs().max()))
    assert float((found - exact).abs().max()) <= bound


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_rows_of_deberta_are_eager_s(side: str) -> None:
    """All positions, padding too: a classifier reads the first, which on the left is padding."""
    model = make("deberta-v2", "eager")
    ids = ENCODERS["deberta-v2"].inputs(2, 11)["input_ids"]
    mask = torch.ones(2, 11, dtype=torch.int64)
    mask[0, :4] = 0
    inputs = {"input_ids": ids, "attention_mask": mask if side == "left" else mask.flip(1)}
    function = graphwright.compile_function(captured("deberta-v2", "eager"), threads=1)
    found = torch.as_tensor(function(**{n: v.numpy() for n, v in inputs.items()})["last_hidden_state"])
    with torch.no_grad():
        eager = model(**inputs).last_hidden_state
        exact = copy.deepcopy(model).double()(**inputs).last_hidden_state
    bound = 4 * max(float((eager - exact).abs().max()), torch.finfo(torch.float32).eps * float(exact.abs().max()))
    assert float((found - exact).abs().max()) <= bound


@pytest.mark.parametrize("name", [n for n in ENCODERS if n != "deberta-v2"])
def test_everything_is_raised(name: str) -> None:
    program, _ = graphwright.optimize(captured(name, implementation(name)), "function")
    found = {op.name for op in program.graphs["forward"]}
    assert "attention" in found
    assert {"layer_norm", "rms_norm"} & found
    assert "softmax" not in found


def test_lengths_of_their_own() -> None:
    types = {v.name: str(v.type) for v in captured("t5", "sdpa").graphs["forward"].inputs}
    assert types == {"input_ids": "i64[B, S]", "attention_mask": "i64[B, S]", "decoder_input_ids": "i64[B, T]"}
    types = {v.name: str(v.type) for v in captured("whisper", "sdpa").graphs["forward"].inputs}
    assert types == {"input_features": "f32[B, 8, 40]", "decoder_input_ids": "i64[B, S]"}


@pytest.mark.parametrize("name", ["bert", "vit", "t5", "whisper"])
def test_checkpoint_directories_need_no_example(name: str, tmp_path: Path) -> None:
    model = make(name)
    save_pretrained(model, tmp_path)
    inputs = ENCODERS[name].inputs(3, 9)
    if name == "t5":
        # what generates beside a context is captured without a mask
        del inputs["attention_mask"]
    check(graphwright.compile_function(tmp_path, threads=1), model, inputs)
