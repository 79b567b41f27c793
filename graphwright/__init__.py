"""Graphwright: an inference compiler for language models.

    import graphwright

    model = graphwright.compile("path/to/checkpoint")
    print(model.generate("Once upon a time", max_new_tokens=64))

Everything is imported on first use: `import graphwright` loads neither torch nor ONNX Runtime.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphwright.api import compile, compile_function, export, load, load_function, optimize, trace
    from graphwright.compiling.compiled import CompiledFunction, CompiledModel
    from graphwright.compiling.report import CompilationReport
    from graphwright.errors import UsageError, is_user_error
    from graphwright.evaluating.evaluate import evaluate
    from graphwright.files.programs import read_program, write_program
    from graphwright.ir.notices import Notice
    from graphwright.quantizing.quantization import Quantization
    from graphwright.quantizing.quantize import quantize
    from graphwright.version import __version__

__all__ = [
    "CompilationReport",
    "CompiledFunction",
    "CompiledModel",
    "Notice",
    "Quantization",
    "UsageError",
    "__version__",
    "compile",
    "compile_function",
    "evaluate",
    "export",
    "is_user_error",
    "load",
    "load_function",
    "optimize",
    "quantize",
    "read_program",
    "trace",
    "write_program",
]

_HOMES = {
    "api": ("compile", "compile_function", "export", "load", "load_function", "optimize", "trace"),
    "compiling.compiled": ("CompiledFunction", "CompiledModel"),
    "compiling.report": ("CompilationReport",),
    "errors": ("UsageError", "is_user_error"),
    "evaluating.evaluate": ("evaluate",),
    "files.programs": ("read_program", "write_program"),
    "ir.notices": ("Notice",),
    "quantizing.quantization": ("Quantization",),
    "quantizing.quantize": ("quantize",),
    "version": ("__version__",),
}
"""The files that have these names."""


def __getattr__(name: str) -> Any:
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return __all__
