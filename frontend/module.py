"""Capture of an nn.Module that is in memory."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from graphwright.frontend import hugging_face
from graphwright.frontend.build import build_program
from graphwright.frontend.skeleton import skeleton
from graphwright.frontend.specialization import Axes
from graphwright.ir import Program, StoredArray, UserError
from graphwright.ir.attributes import Attribute
from graphwright.ir.weights import WeightExpression

BATCH, SEQUENCE = 2, 11
"""The sizes that are traced: unequal, more than one (which torch treats apart), and unlikely to equal a model's own."""


def capture_module(module: torch.nn.Module, examples: Sequence[torch.Tensor], dtype: torch.dtype | None) -> Program:
    """See `capture`."""
    pretrained = hugging_face.is_pretrained(module)
    persistent = set(module.state_dict())

    def wanted(name: str, tensor: torch.Tensor) -> torch.dtype:
        # Loading a checkpoint in a dtype leaves computed buffers (rotary frequencies) alone; `Module.to` does not.
        converted = tensor.is_floating_point() and not (pretrained and name not in persistent)
        return dtype if dtype is not None and converted else tensor.dtype

    model = skeleton(module, wanted)
    inputs = _inputs(module, examples)
    call, metadata = _plain_call, _metadata(module)
    if pretrained and list(inputs) == ["input_ids"]:
        hugging_face.prepare(model)
        call = hugging_face.calling_convention(model)
        metadata = hugging_face.metadata(model)
    return build_program(type(module).__name__, model, call, inputs, _weights(module), metadata)


def _plain_call(model: torch.nn.Module, *inputs: torch.Tensor) -> Any:
    return model(*inputs)


def _weights(module: torch.nn.Module) -> dict[str, WeightExpression]:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {name: StoredArray.of(tensor.detach().cpu()) for name, tensor in tensors}


def _metadata(module: torch.nn.Module) -> dict[str, Attribute]:
    return {"architecture": type(module).__name__, "parameters": sum(p.numel() for p in module.parameters())}


def _inputs(module: torch.nn.Module, examples: Sequence[torch.Tensor]) -> Mapping[str, tuple[torch.Tensor, Axes]]:
    """Names, example tensors and dynamic axes of the inputs."""
    for i, example in enumerate(examples):
        if not isinstance(example, torch.Tensor):  # pyright: ignore[reportUnnecessaryIsInstance] - what a user passes
            raise UserError(f"example input {i} is a {type(example).__name__}: pass tensors")
    tokens = [e for e in examples if e.dtype is torch.int64 and e.dim() == 2]
    if not examples or (len(examples) == 1 and tokens):
        return example_tokens(min((max(e.shape[1], 3) for e in tokens), default=SEQUENCE))
    names = _input_names(module, len(examples))
    shapes = {e.shape for n, e in zip(names, examples, strict=True) if n == "input_ids" and e.dim() == 2}

    def axes(example: torch.Tensor) -> Axes:
        like_tokens = example.shape in shapes and not example.is_floating_point()
        return {0: "B", 1: "S"} if like_tokens else {0: "B"} if example.dim() else {}

    return {n: (_several(e, axes(e)), axes(e)) for n, e in zip(names, examples, strict=True)}


def example_tokens(longest: int = SEQUENCE) -> dict[str, tuple[torch.Tensor, Axes]]:
    """Token ids to trace with, no longer than what the user gave: a model may bound the length."""
    return {"input_ids": (torch.zeros(BATCH, min(longest, SEQUENCE), dtype=torch.int64), {0: "B", 1: "S"})}


def _several(example: torch.Tensor, axes: Axes) -> torch.Tensor:
    """The example with two or more elements along its dynamic axes: torch takes a length of one for a constant."""
    repeats = [2 if axis in axes and size == 1 else 1 for axis, size in enumerate(example.shape)]
    return example.detach().cpu().repeat(repeats) if 2 in repeats else example.detach().cpu()


def _input_names(module: torch.nn.Module, count: int) -> list[str]:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    names = [p.name for p in parameters if p.kind in positional]
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        names += [f"input.{i}" for i in range(len(names), count)]
    if len(names) < count:
        raise UserError(f"{count} example inputs for {type(module).__name__}, whose forward takes {len(names)}")
    return names[:count]
