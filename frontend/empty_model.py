"""Hugging Face models built without weights: parameters on the meta device, buffers real."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from graphwright.frontend import hugging_face
from graphwright.frontend.errors import CheckpointError


def empty_model(build: Any, config: Any, directory: Path, dtype: torch.dtype) -> Any:
    """The model of class `build` of a configuration, in evaluation mode; `CheckpointError` if it cannot be built."""
    try:
        with parameters_on_meta():
            model = build._from_config(config, dtype=dtype)
            model.tie_weights()
    except Exception as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise CheckpointError(f"{directory / 'config.json'}: {build.__name__} cannot be built: {reason}") from None
    model.eval()
    hugging_face.prepare(model)
    return model


@contextmanager
def parameters_on_meta() -> Generator[None]:
    """While this lasts, modules drop the memory of each parameter that they register.

    The meta device for everything would be simpler, but then buffers that no file holds, such as rotary frequencies,
    would lose their values.
    """
    register = torch.nn.Module.register_parameter

    def register_on_meta(module: torch.nn.Module, name: str, param: torch.nn.Parameter | None) -> None:
        if param is not None and not param.is_meta:
            param = torch.nn.Parameter(param.detach().to("meta"), requires_grad=False)
        register(module, name, param)

    torch.nn.Module.register_parameter = register_on_meta  # pyright: ignore[reportAttributeAccessIssue] - patched on purpose
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = register
