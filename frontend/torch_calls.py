"""What a module's code asks of torch, call by call: recorded while it is traced, and again at single sizes.

Two runs that ask the same compute the same. What torch itself does otherwise at a size (broadcasting, a cut that cuts
nothing) lies below these calls, and so does not tell runs apart.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from graphwright.frontend.outputs import flatten_outputs
from graphwright.frontend.traced_graph import as_while_exporting, expression, fake_tensors

_OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
"""Where no code of the user is."""


@dataclass(frozen=True)
class _Tensor:
    """A tensor by its number among those that calls made, by its name, or, having neither, by the object that it is."""

    name: object
    dtype: torch.dtype
    shape: tuple[Any, ...]


@dataclass(frozen=True)
class _Symbolic:
    """What was computed from sizes; its expression is read late, since a trace may find two symbols to be one."""

    size: torch.SymInt | torch.SymFloat | torch.SymBool


@dataclass(frozen=True)
class Call:
    """One call: what is called, with what, what it gives, and where the user's code does so, as `file:line`."""

    function: str
    arguments: object
    results: object
    place: str


class CallLog(TorchFunctionMode):
    """Records the calls that are made while it is entered. `named` are tensors that runs share, by name."""

    def __init__(self, named: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._names: dict[int, object] = {id(tensor): name for name, tensor in named.items()}
        self._made = 0
        # a tensor that is gone could leave its identity to another one
        self._alive: list[torch.Tensor] = list(named.values())
        self.nameless: list[object] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = str(getattr(func, "__name__", func))
        if name == "__get__":  # of an attribute, which says what it is
            name = str(getattr(getattr(func, "__self__", None), "__name__", name))
        if "dropout" in name and kwargs.get("training", True) is False and isinstance(args[0], torch.Tensor):
            # in evaluation it gives its operand: the same tensor, or in a trace a new name for it
            self._names[id(result)] = self._names.get(id(args[0]), "given")
            self._alive.append(result)
        elif result is None or _holds_tensor(result):
            arguments = self._described((list(args), dict(kwargs)))
            # named anew even if it is an operand: what is contiguous already is copied in a trace, and not elsewhere
            self._name_results(result)
            self.calls.append(Call(name, arguments, self._described(result), _place()))
        return result

    def describe(self, value: Any) -> object:
        """A value of the run as it stands in calls, to be compared with one of another run."""
        return self._described(value)

    def _name_results(self, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            self._names[id(value)] = self._made
            self._made += 1
            self._alive.append(value)
        elif isinstance(value, (list, tuple)):
            for item in cast("Sequence[Any]", value):
                self._name_results(item)

    def _described(self, value: Any) -> object:
        if isinstance(value, torch.Tensor):
            name = self._names.get(id(value))
            return _Tensor(self._object(value) if name is None else name, value.dtype, tuple(map(_number, value.shape)))
        if isinstance(value, Mapping):
            items = cast("Mapping[Any, Any]", value).items()
            return tuple((str(key), self._described(item)) for key, item in items)
        if isinstance(value, (list, tuple)):
            return tuple(map(self._described, cast("Sequence[Any]", value)))
        if isinstance(value, slice):
            bounds = cast("slice[Any, Any, Any]", value)
            return ("slice", *map(self._described, (bounds.start, bounds.stop, bounds.step)))
        if isinstance(value, (np.ndarray, np.generic)):
            array = cast("Any", value)
            return (str(array.dtype), array.shape, array.tobytes())
        described = _number(value)
        return self._object(value) if described is None else described

    def _object(self, value: object) -> object:
        """What has no name is the same in two runs only if it is the same object, which has to live for both."""
        self.nameless.append(value)
        return (type(value), "object", id(value))


def _number(value: Any) -> object:
    """A value of python that says all of itself; None for another object."""
    if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return _Symbolic(value)
    known = value is None or isinstance(value, (bool, int, float, complex, str, torch.dtype, torch.device))
    return (cast("type[object]", type(value)), value) if known else None


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_holds_tensor, cast("Sequence[Any]", value)))
    return isinstance(value, torch.Tensor)


def _place() -> str:
    """The innermost line that is neither torch's nor ours."""
    frame = sys._getframe(2)
    while frame is not None and is_library(frame.f_code.co_filename):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


@lru_cache(maxsize=4096)
def is_library(file: str) -> bool:
    """Whether a line of this file is torch's or ours, not the user's."""
    return not file or file.startswith((*_OWN, "<"))


@dataclass(frozen=True)
class Run:
    """The calls of one run of a module, its outputs by name, and the objects by whose identity they are told."""

    calls: Sequence[Call]
    outputs: object
    nameless: Sequence[object]


def recorded(model: torch.nn.Module, call: Callable[..., Any], runs: list[Run]) -> Callable[..., Any]:
    """`call`, which adds what it asks of torch to `runs`."""

    def call_and_record(*arguments: Any) -> Any:
        named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        inputs = {f"input {i}": x for i, x in enumerate(arguments) if isinstance(x, torch.Tensor)}
        log = CallLog(inputs | {f"weight {name}": tensor for name, tensor in named})
        with log:
            result = call(*arguments)
        runs.append(Run(log.calls, log.describe(flatten_outputs(result).tensors), log.nameless))
        return result

    return call_and_record


def run_at_sizes(
    model: torch.nn.Module, call: Callable[..., Any], shapes: Sequence[tuple[Sequence[int], torch.dtype]]
) -> Run:
    """The run of `call(model, *inputs)` on inputs of these shapes, without computing anything.

    Raises what the module's code raises.
    """
    runs: list[Run] = []
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(as_while_exporting())
        stack.enter_context(fake_tensors())
        recorded(model, call, runs)(model, *(torch.empty(list(shape), dtype=dtype) for shape, dtype in shapes))
    return runs[-1]


def first_difference(traced: Run, single: Run, sizes: Mapping[str, int]) -> str | None:
    """None if a run at single sizes asks what the trace asks, else where it first does not, as `file:line` or empty.

    `sizes` gives torch's symbols their values.
    """
    values = _Values(sizes)
    for a, b in zip(traced.calls, single.calls, strict=False):
        if a.function != b.function or not _agree(_operands(a, b), _operands(b, b), values):
            return b.place or a.place
        if not _agree(a.results, b.results, values):
            return b.place
    longer = max(traced.calls, single.calls, key=len)
    if len(traced.calls) != len(single.calls):
        return longer[min(len(traced.calls), len(single.calls))].place
    return None if _agree(traced.outputs, single.outputs, values) else ""


def _operands(call: Call, single: Call) -> object:
    """A call's arguments. One query that sees one key sees all there is, causal or not."""
    if call.function != "scaled_dot_product_attention":
        return call.arguments
    positional, named = cast("tuple[tuple[Any, ...], tuple[tuple[str, Any], ...]]", single.arguments)
    tensors = [v for v in (*positional, *(v for _, v in named)) if isinstance(v, _Tensor)]
    if len(tensors) != 3 or any(t.shape[-2] != (int, 1) for t in tensors):
        return call.arguments
    positional, named = cast("tuple[tuple[Any, ...], tuple[tuple[str, Any], ...]]", call.arguments)
    return positional[:5], tuple(item for item in named if item[0] != "is_causal")


class _Values:
    """The values of symbolic expressions at given sizes; None where one depends on more than sizes."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        self._known: dict[Any, object] = {}

    def __call__(self, part: Any) -> object:
        if part not in self._known:
            found = part.subs({symbol: self._sizes.get(symbol.name, symbol) for symbol in part.free_symbols})
            whole = bool(found.is_Integer) if hasattr(found, "is_Integer") else False
            self._known[part] = int(found) if whole else bool(found) if found in (True, False) else None
        return self._known[part]


def _agree(traced: object, single: object, values: _Values) -> bool:
    if isinstance(traced, _Tensor):
        return (
            isinstance(single, _Tensor)
            and (traced.name, traced.dtype) == (single.name, single.dtype)
            and _agree(traced.shape, single.shape, values)
        )
    if isinstance(traced, tuple):
        several = cast("tuple[object, ...]", traced)
        if not isinstance(single, tuple) or len(several) != len(cast("tuple[object, ...]", single)):
            return False
        return all(_agree(a, b, values) for a, b in zip(several, cast("tuple[object, ...]", single), strict=True))
    if isinstance(traced, _Symbolic):
        value = values(expression(traced.size))
        return value is not None and single == (type(value), value)
    return traced == single
