"""The ONNX backend: lowered programs to artifacts and to folders for other runtimes.

What writes ONNX is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphwright.backends.onnx.compile import build_artifact
    from graphwright.backends.onnx.export import export_folder

__all__ = ["build_artifact", "export_folder"]

_HOMES = {"build_artifact": "compile", "export_folder": "export"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
