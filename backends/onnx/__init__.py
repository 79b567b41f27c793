"""The ONNX backend: optimized programs to artifacts, in the dialects `ort` and `portable`.

What writes ONNX is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphwright.backends.onnx.compile import BuildReport, build_artifact
    from graphwright.backends.onnx.export import export_folder

__all__ = ["BuildReport", "build_artifact", "export_folder"]

_HOMES = {"BuildReport": "compile", "build_artifact": "compile", "export_folder": "export"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
