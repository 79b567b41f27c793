"""`torch`, imported when it is first used: reading and printing IR must not cost seconds of start-up."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
else:

    class _LazyModule:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            # Kept, so that it is looked up once: the interpreter asks for some at every op.
            value = getattr(importlib.import_module(self._name), attribute)
            setattr(self, attribute, value)
            return value

    torch = _LazyModule("torch")

__all__ = ["torch"]
