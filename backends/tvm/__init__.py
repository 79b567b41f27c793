"""The TVM backend: lowered programs to artifacts of machine code.

TVM is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphwright.backends.tvm.compile import build_artifact, plan_text

__all__ = ["build_artifact", "plan_text"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.compile"), name)
