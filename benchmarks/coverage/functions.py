"""The checks of encoders and other plain functions: forward at other shapes than the traced ones, against eager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.coverage.reference import float64, worst

Arguments = dict[str, Tensor]
Run = Callable[[Arguments], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Call:
    """How a model is called: its inputs for a batch and a length, in the order of its forward method."""

    inputs: Callable[[Any, int, int], Arguments]

    def examples(self, config: Any) -> list[Tensor]:
        return list(self.inputs(config, 2, 11).values())


def _tokens(seed: int, batch: int, length: int) -> Tensor:
    return torch.randint(3, 250, (batch, length), generator=torch.Generator().manual_seed(seed))


def _padded(batch: int, length: int) -> Tensor:
    """A mask of rows that are each shorter than the one before, padded on the right."""
    return (torch.arange(length) < length - 2 * torch.arange(batch)[:, None]).long()


def _text(config: Any, batch: int, length: int) -> Arguments:
    return {"input_ids": _tokens(1, batch, length), "attention_mask": _padded(batch, length)}


def _pair(config: Any, batch: int, length: int) -> Arguments:
    return {**_text(config, batch, length), "decoder_input_ids": _tokens(2, batch, length)}


def _image(config: Any, batch: int, length: int) -> Arguments:
    size = (batch, config.num_channels, config.image_size, config.image_size)
    return {"pixel_values": torch.randn(size, generator=torch.Generator().manual_seed(1))}


def _audio(config: Any, batch: int, length: int) -> Arguments:
    size = (batch, config.num_mel_bins, 2 * config.max_source_positions)
    return {"input_features": torch.randn(size, generator=torch.Generator().manual_seed(1))}


def calling(module: nn.Module) -> Call:
    """The call that fits a model, by the name of its main input and by whether it has a decoder."""
    config: Any = module.config
    if getattr(module, "main_input_name", "input_ids") == "pixel_values":
        return Call(_image)
    if hasattr(config, "num_mel_bins"):
        return Call(_audio)
    return Call(_pair if config.is_encoder_decoder else _text)


SHAPES = {"forward": (1, 28), "batch": (3, 17)}
"""Batch and length of the checks, unlike the traced ones."""


@dataclass(frozen=True)
class FunctionReference:
    """Inputs, the outputs in float64, and the bound on errors, for each check."""

    cases: dict[str, tuple[Arguments, dict[str, Tensor], float]]


def function_reference(module: nn.Module, outputs: list[str]) -> FunctionReference:
    """What the original module says of the named outputs."""
    call = calling(module)
    cases: dict[str, tuple[Arguments, dict[str, Tensor], float]] = {}
    for name, (batch, length) in SHAPES.items():
        arguments = call.inputs(module.config, batch, length)
        with torch.no_grad():
            eager = _named(module, arguments, outputs)
            with float64(module) as double:
                exact = _named(double, _double(arguments), outputs)
        bound = 4 * worst(list(eager.values()), list(exact.values()))
        cases[name] = (arguments, exact, bound)
    return FunctionReference(cases)


def _named(module: nn.Module, arguments: Arguments, outputs: list[str]) -> dict[str, Tensor]:
    result = cast("Any", module)(**arguments)
    return {name: result[name] for name in outputs}


def _double(arguments: Arguments) -> Arguments:
    return {name: x.double() if x.is_floating_point() else x for name, x in arguments.items()}


def function_errors(run: Run, reference: FunctionReference) -> dict[str, float]:
    """The largest error of any number over its bound, for each shape."""
    found: dict[str, float] = {}
    with torch.no_grad():
        for name, (arguments, exact, bound) in reference.cases.items():
            outputs = run(arguments)
            found[name] = worst([outputs[key] for key in exact], list(exact.values())) / bound
    return found
