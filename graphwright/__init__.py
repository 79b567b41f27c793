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
    "CompilationReport": "compiling.report",
    "CompiledFunction": "compiling.compiled",
    "CompiledModel": "compiling.compiled",
    "Notice": "ir.notices",
    "Quantization": "quantizing.quantization",
    "UsageError": "errors",
    "__version__": "version",
    "compile": "api",
    "compile_function": "api",
    "evaluate": "evaluating.evaluate",
    "export": "api",
    "is_user_error": "errors",
    "load": "api",
    "load_function": "api",
    "optimize": "api",
    "quantize": "quantizing.quantize",
    "read_program": "files.programs",
    "trace": "api",
    "write_program": "files.programs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
