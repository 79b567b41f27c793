"""TVM, imported as this backend needs it: its files take `tvm`, `tirx`, `te`, `T` and so on from here.

Importing TVM takes seconds and brings in torch, so nothing outside this package imports this file on its own import.
"""

import importlib
import inspect
import linecache
import sys
from functools import lru_cache
from types import FrameType, FunctionType, ModuleType
from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.ir.errors import UnsupportedError

NEAR = 8
"""Frames whose line of code the script parser may ask for, to see whether a function stands in a class."""


def _outer_frames(innermost: FrameType | None, context: int = 1) -> list[inspect.FrameInfo]:
    """A frame and its callers, with the line of code of the nearest ones only."""
    frames: list[inspect.FrameInfo] = []
    frame = innermost
    while frame is not None:
        file, line = frame.f_code.co_filename, frame.f_lineno
        code = [linecache.getline(file, line)] if len(frames) < NEAR else None
        frames.append(inspect.FrameInfo(frame, file, line, frame.f_code.co_name, code, 0 if code else None))
        frame = frame.f_back
    return frames


def _stack(context: int = 1) -> list[inspect.FrameInfo]:
    """The frames of the caller, innermost first."""
    return _outer_frames(sys._getframe(1))


def _load(name: str) -> Any:
    """A module of TVM, which has no type stubs."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UnsupportedError(
            f"the TVM backend needs TVM ({error}): in the clone of Graphwright, run `pip install -e '.[tvm]'`"
        ) from None


tvm = _load("tvm")
s_tir = _load("tvm.s_tir")
te = _load("tvm.te")
tirx = _load("tvm.tirx")
topi = _load("tvm.topi")
codegen_build = _load("tvm.tirx.build").codegen_build
"""Lowered functions as a module of machine code; in `tvm.tirx` a function stands before its file's name."""
tvm_ffi = _load("tvm_ffi")
T = _load("tvm.script").tirx
"""The language of TensorIR scripts."""

builder = _load("tvm.tirx.script.builder")
IRBuilder = _load("tvm.script.ir_builder").IRBuilder
"""The same language without its parser: statements are emitted by calls, into the builder that is entered."""

_ASKING = ("script.parser.ir.entry", "script.parser.core.parser", "tirx.script.parser.entry", "tirx.script.builder.ir")
"""Modules of TVM that ask for the stack at every function that is read, whole or inlined. The library's own `inspect`
looks through every loaded module for each frame: a second a kernel in a process that has torch."""

_quick = ModuleType(inspect.__name__, inspect.__doc__)
vars(_quick).update(vars(inspect), stack=_stack, getouterframes=_outer_frames)
for _name in _ASKING:
    _load(f"tvm.{_name}").inspect = _quick

_evaluator = _load("tvm.script.parser.core.evaluator")
library_expression = _evaluator._eval_expr
_doc = _evaluator.doc


def _value_of(node: Any, names: dict[str, Any]) -> Any:
    """An expression of a script, as the parser evaluates it, whose parts are names of values by then.

    The library makes code of each one and has Python run that, which takes most of the time of reading a script.
    """
    if isinstance(node, _doc.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, _doc.Constant):
        return node.value
    if isinstance(node, _doc.Attribute):
        return getattr(_value_of(node.value, names), node.attr)
    if isinstance(node, _doc.Subscript):
        return _value_of(node.value, names)[_value_of(node.slice, names)]
    if isinstance(node, _doc.Tuple) and not _spread(node.elts):
        return tuple(_value_of(each, names) for each in node.elts)
    if isinstance(node, _doc.Call) and not _spread(node.args) and all(word.arg for word in node.keywords):
        places = [_value_of(each, names) for each in node.args]
        words = {word.arg: _value_of(word.value, names) for word in node.keywords}
        # What is called may look for the parser among the global names of its callers.
        return FunctionType(_call.__code__, names)(_value_of(node.func, names), places, words)
    return library_expression(node, names)


def _call(function: Any, places: list[Any], words: dict[str, Any]) -> Any:
    return function(*places, **words)


def _spread(nodes: list[Any]) -> bool:
    return any(isinstance(each, _doc.Starred) for each in nodes)


_evaluator._eval_expr = _value_of
_source = _load("tvm.script.parser.core.diagnostics").Source
_parsed = lru_cache(maxsize=None)(_load("tvm.script.parser.core.doc").parse)
"""A function that scripts inline is read anew by the library wherever it is called."""


def _as_ast(self: Any) -> Any:
    return _parsed(self.source)


_source.as_ast = _as_ast


def llvm_target(cpu: Cpu) -> Any:
    """TVM's target for code that runs on that CPU."""
    target: dict[str, Any] = {"kind": "llvm", "mcpu": cpu.name}
    if cpu.attributes:
        target["mattr"] = list(cpu.attributes)
    if cpu.triple:
        target["mtriple"] = cpu.triple
    return tvm.target.Target(target)
