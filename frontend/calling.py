"""How a module is called: with its inputs in order or by name, or with token ids alone where it is a language model."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from graphwright.ir import UserError
from graphwright.ir.convention import INPUT_IDS

TOKEN_NAMES = (INPUT_IDS, "ids", "idx", "tokens", "token_ids", "inputs", "input", "x")
"""What people call token ids, where only a name can tell."""

Parameter = inspect.Parameter


def call_with(names: Sequence[str], fixed: Mapping[str, Any]) -> Callable[..., Any]:
    """The call of a module with its inputs by these names, or in order if there are none."""

    def call(model: torch.nn.Module, *inputs: torch.Tensor) -> Any:
        return model(**dict(zip(names, inputs, strict=True)), **fixed) if names else model(*inputs, **fixed)

    return call


def token_call(
    module: torch.nn.Module, examples: Mapping[str, torch.Tensor], fixed: Mapping[str, Any]
) -> Callable[..., Any]:
    """The call of a language model with token ids i64 [B, S]: by the name and in the element type of its example.

    Without an example they are the first argument in order, or else the keyword that must be given, or that has a
    token-like name. All others keep their defaults, or the fixed values. Raises `UserError` for one that has neither.
    """
    example = next(iter(examples.values()), None)
    dtype = torch.int64 if example is None else example.dtype
    name = next(iter(examples), None) or _token_parameter(module)
    _require_defaults(module, name, fixed)
    positional = name is None or _is_first(module, name)

    def call(model: torch.nn.Module, ids: torch.Tensor) -> Any:
        ids = ids if dtype is torch.int64 else ids.to(dtype)
        return model(ids, **fixed) if positional else model(**{str(name): ids}, **fixed)

    return call


def _parameters(module: torch.nn.Module) -> list[Parameter]:
    return list(inspect.signature(module.forward).parameters.values())


def _token_parameter(module: torch.nn.Module) -> str | None:
    """The parameter that takes the token ids; None if it is one of `*args`."""
    parameters = _parameters(module)
    in_order = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)
    first = next((p for p in parameters if p.kind in in_order), None)
    if first is not None:
        return None if first.kind is Parameter.VAR_POSITIONAL else first.name
    keywords = [p for p in parameters if p.kind is Parameter.KEYWORD_ONLY]
    required = [p.name for p in keywords if p.default is Parameter.empty]
    if len(required) == 1:
        return required[0]
    named = [name for name in TOKEN_NAMES if any(p.name == name for p in keywords)]
    if named:
        return named[0]
    if any(p.kind is Parameter.VAR_KEYWORD for p in parameters):
        return TOKEN_NAMES[0]
    listed = ", ".join(p.name for p in parameters) or "nothing"
    raise UserError(f"forward of {type(module).__name__} takes {listed}: say by example inputs which are the token ids")


def _is_first(module: torch.nn.Module, name: str) -> bool:
    in_order = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    first = next(iter(_parameters(module)), None)
    return first is None or (first.kind in in_order and first.name == name) or first.kind is Parameter.VAR_POSITIONAL


def _require_defaults(module: torch.nn.Module, ids: str | None, fixed: Mapping[str, Any]) -> None:
    special = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    for parameter in _parameters(module):
        known = parameter.name == ids or parameter.name in fixed or parameter.kind in special
        if not known and parameter.default is Parameter.empty:
            raise UserError(
                f"forward of {type(module).__name__} takes '{parameter.name}' beside token ids: give it a default, or "
                f"example inputs with a value for it, as {{'{ids}': ids, '{parameter.name}': None}}"
            )
