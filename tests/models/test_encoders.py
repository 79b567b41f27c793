"""Models that do not generate, compiled to plain callables, against the eager module at sizes that were not traced."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

import graphwright
from graphwright.frontend import capture
from graphwright.ir import Program
from tests.models.encoders import ENCODERS, Inputs, make

SIZES = ((1, 3), (4, 23))
"""Batch and length; the traced ones are 2 and 11. The longer one is past every local window."""
EAGER = ("bert", "modernbert", "t5-encoder", "vit", "t5")
"""Those that are traced with transformers' own spelling of attention too."""

NO_SDPA = ("deberta-v2",)


def implementation(name: str) -> str:
    return "eager" if name in NO_SDPA else "sdpa"


@lru_cache(maxsize=2)
def captured(name: str, attention: str) -> Program:
    return capture(make(name, attention), ENCODERS[name].inputs(2, 11))


def named(output: object) -> dict[str, Tensor]:
    """The tensors of a model's output that a captured program gives."""
    logits = getattr(output, "logits", None)
    found = {"logits": logits} if logits is not None else dict(output)  # type: ignore[call-overload]  # a mapping
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
        got, wanted, own = (seen(v, inputs) for v in (torch.from_numpy(value), exact[name], eager[name]))
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
    model.save_pretrained(tmp_path)
    inputs = ENCODERS[name].inputs(3, 9)
    if name == "t5":
        # what generates beside a context is captured without a mask
        del inputs["attention_mask"]
    check(graphwright.compile_function(tmp_path, threads=1), model, inputs)
