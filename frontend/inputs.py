"""What a module is traced with: names and example tensors of its inputs, and which of their axes are dynamic."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from graphwright.frontend.conditions import Axes
from graphwright.ir import UserError
from graphwright.ir.convention import BATCH, INPUT_IDS, SEQUENCE, SOURCE_SEQUENCE

TRACED_BATCH, TRACED_SEQUENCE = 2, 11
"""The sizes that are traced: unequal, more than one (which torch treats apart), and unlikely to equal a model's own."""

OTHER_LENGTHS = (5, 3, 37, 131)
"""Lengths to try instead where there is no example and the module takes no `TRACED_SEQUENCE`: it bounds the length."""

_IDS = (torch.int64, torch.int32)

Examples = torch.Tensor | Sequence[torch.Tensor | float | str | None] | Mapping[str, torch.Tensor | float | str | None]
"""In the order of the forward method, or by the names of its parameters; what is no tensor stays as it is."""

LENGTHS = (SEQUENCE, SOURCE_SEQUENCE, "U", "V", "W")
"""The symbols of lengths: `S` that of `input_ids`, or else of the first input of token ids, and so on."""


def named_examples(module: torch.nn.Module, examples: Examples | None) -> dict[str, torch.Tensor]:
    """The examples by name. Raises `UserError` for what is not a tensor or has no place in the forward method."""
    if isinstance(examples, torch.Tensor):
        examples = [examples]
    if isinstance(examples, Mapping):
        named: dict[str, Any] = {str(name): example for name, example in examples.items()}
        _check_names(module, named)
    else:
        user: Any = examples  # may be anything: it is checked below
        given: list[Any] = list(cast("Sequence[Any]", user or ())) if isinstance(user, Sequence | None) else [user]
        _check_tensors({str(i): example for i, example in enumerate(given)})
        named = dict(zip(_positional_names(module, len(given)), given, strict=True))
    _check_tensors(named)
    return named


def _check_tensors(examples: Mapping[str, Any]) -> None:
    for name, example in examples.items():
        if not isinstance(example, torch.Tensor):
            raise UserError(f"example input {name} is a {type(example).__name__}: pass tensors")
        if example.is_complex():
            raise UserError(f"example input {name} is complex: pass real and imaginary part as torch.view_as_real does")


def without_fixed(module: torch.nn.Module, examples: Examples | None) -> tuple[Examples | None, dict[str, Any]]:
    """The examples that are tensors, and by name what is given beside them: None, numbers and texts, which stay."""
    given: Any = examples  # may be anything: what is no mapping or sequence is refused by `named_examples`
    if isinstance(given, Mapping):
        named = {str(name): value for name, value in cast("Mapping[Any, Any]", given).items()}
    elif isinstance(given, Sequence):
        values = list(cast("Sequence[Any]", given))
        if not any(isinstance(value, torch.Tensor) for value in values):
            return examples, {}
        if all(isinstance(value, torch.Tensor) for value in values):
            return examples, {}
        named = dict(zip(_positional_names(module, len(values)), values, strict=True))
    else:
        return examples, {}
    fixed = {name: v for name, v in named.items() if v is None or isinstance(v, bool | int | float | str)}
    if not fixed or not any(isinstance(value, torch.Tensor) for value in named.values()):
        return examples, {}
    _check_names(module, named)
    return {name: value for name, value in named.items() if name not in fixed}, fixed


def is_one_sequence(examples: Mapping[str, torch.Tensor]) -> bool:
    """Whether the only example looks like the token ids of one sequence: integers of one axis."""
    return len(examples) == 1 and all(e.dtype in _IDS and e.dim() == 1 for e in examples.values())


def is_token_ids(examples: Mapping[str, torch.Tensor]) -> bool:
    """Whether there is no example, or one that looks like token ids: the module is called as a language model."""
    return all(_like_tokens(example) for example in examples.values()) and len(examples) <= 1


def _like_tokens(example: torch.Tensor) -> bool:
    return example.dtype in _IDS and example.dim() == 2


def dynamic_axes(examples: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, Axes]]:
    """The tensors to trace with, and their dynamic axes.

    Axis 0 of each is the batch. The second axis of token ids (i64 of two axes) is a length, and so is every axis of
    another input that is as long; token ids of another length have a length of their own.
    """
    tokens = {name: e.shape[1] for name, e in examples.items() if _like_tokens(e)}
    if INPUT_IDS in tokens:
        tokens = {INPUT_IDS: tokens[INPUT_IDS], **tokens}
    lengths = list(dict.fromkeys(tokens.values()))
    if len(lengths) > len(LENGTHS):
        raise UserError(f"the example inputs have {len(lengths)} different lengths; at most {len(LENGTHS)} are known")
    symbols = dict(zip(lengths, LENGTHS, strict=False))
    inputs: dict[str, tuple[torch.Tensor, Axes]] = {}
    for name, example in examples.items():
        axes = {i: symbols[size] for i, size in enumerate(example.shape) if i > 0 and size in symbols}
        axes = {0: BATCH, **axes} if example.dim() else axes
        inputs[name] = (_several(example, axes), axes)
    return inputs


def example_tokens(examples: Mapping[str, torch.Tensor] | None = None) -> dict[str, tuple[torch.Tensor, Axes]]:
    """Token ids to trace with, no longer than what the user gave: a model may bound the length."""
    longest = min((max(e.shape[1], 3) for e in (examples or {}).values()), default=TRACED_SEQUENCE)
    return tokens_of_length(min(longest, TRACED_SEQUENCE))


def tokens_of_length(length: int) -> dict[str, tuple[torch.Tensor, Axes]]:
    """Token ids to trace with: [2, length]."""
    return {INPUT_IDS: (torch.zeros(TRACED_BATCH, length, dtype=torch.int64), {0: BATCH, 1: SEQUENCE})}


def sequence_of_length(length: int) -> dict[str, tuple[torch.Tensor, Axes]]:
    """Token ids of one sequence to trace with, without a batch: [length]."""
    return {INPUT_IDS: (torch.zeros(length, dtype=torch.int64), {0: SEQUENCE})}


def _several(example: torch.Tensor, axes: Axes) -> torch.Tensor:
    """The example with two or more elements along its dynamic axes: torch takes a length of one for a constant."""
    repeats = [2 if axis in axes and size == 1 else 1 for axis, size in enumerate(example.shape)]
    return example.detach().cpu().repeat(repeats) if 2 in repeats else example.detach().cpu()


def _check_names(module: torch.nn.Module, examples: Mapping[str, object]) -> None:
    parameters = inspect.signature(module.forward).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return
    for name in examples:
        if name not in parameters:
            known = ", ".join(parameters)
            raise UserError(f"forward of {type(module).__name__} takes no '{name}'; it takes {known}")


def _positional_names(module: torch.nn.Module, count: int) -> list[str]:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    names = [p.name for p in parameters if p.kind in positional]
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        names += [f"input.{i}" for i in range(len(names), count)]
    if len(names) < count:
        raise UserError(f"{count} example inputs for {type(module).__name__}, whose forward takes {len(names)}")
    return names[:count]
