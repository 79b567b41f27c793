"""A model without its weights: what is traced, so that neither reading nor copying weights is part of a capture."""

import copy
from collections.abc import Callable, Iterable
from typing import cast

import torch

from graphwright.ir import UnsupportedError


def placeholder(parameter: torch.Tensor, dtype: torch.dtype) -> torch.nn.Parameter:
    """A parameter of that shape whose memory is never touched, and so never committed by the system."""
    return torch.nn.Parameter(torch.empty(parameter.shape, dtype=dtype), requires_grad=False)


def skeleton(module: torch.nn.Module, dtype: Callable[[str, torch.Tensor], torch.dtype]) -> torch.nn.Module:
    """A copy of a module in evaluation mode. Parameters are placeholders of `dtype(name, parameter)`, tied as before.

    Buffers keep their values, since code may branch on them. The module itself is left alone.
    """
    known: dict[int, object] = {}
    for name, parameter in module.named_parameters():
        _require_plain(name, parameter)
        known[id(parameter)] = placeholder(parameter, dtype(name, parameter))
    for name, buffer in module.named_buffers():
        _require_plain(name, buffer)
        known[id(buffer)] = buffer.detach().to("cpu", dtype(name, buffer))
    _require_no_leftovers(module)
    try:
        return copy.deepcopy(module, known).eval()
    except Exception as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise UnsupportedError(f"{type(module).__name__} cannot be copied for tracing: {reason}") from None


def _require_no_leftovers(module: torch.nn.Module) -> None:
    """Raises `UnsupportedError` for a tensor that an earlier call computed and left in the module, as a cache does."""
    for path, part in cast("Iterable[tuple[str, torch.nn.Module]]", module.named_modules()):
        for name, value in vars(part).items():
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                place = f"{path}.{name}" if path else name
                raise UnsupportedError(
                    f"'{place}' of {type(module).__name__} holds what an earlier call computed: set it to None, or "
                    "compile a module that has not been called"
                )


def _require_plain(name: str, tensor: torch.Tensor) -> None:
    if tensor.is_meta:
        raise UnsupportedError(f"weight '{name}' has no value: it is on the meta device; load the weights first")
    if type(tensor.data) is not torch.Tensor or tensor.is_sparse or tensor.is_quantized:
        raise UnsupportedError(
            f"weight '{name}' is a {type(tensor.data).__name__}; only plain dense tensors are captured"
        )


def canonical_names(module: torch.nn.Module) -> dict[str, str]:
    """For every name of a parameter or buffer the first name of the same tensor: tied weights are one."""
    first: dict[int, str] = {}
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: first.setdefault(id(tensor), name) for name, tensor in named}
