"""Calls of ONNX Runtime on a GPU: what lies on the host has a buffer on the device that is bound once, and a step of
one token is recorded as a CUDA graph where the program allows it.

None of it has run on a GPU yet: tests hold it against a stand-in of the library.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from threading import Lock
from typing import Protocol, cast

from graphwright.runtime.artifact.convention import INPUT_IDS
from graphwright.runtime.engines.engine import Value
from graphwright.runtime.onnxruntime_api import LaidOutValue, OnnxRuntime, RunOptions

GRAPH = "gpu_graph_id"
"""The run option that names the graph to record or replay."""
UNRECORDED = -1
"""As that name: run without a graph."""
MOST_GRAPHS = 64
"""Graphs that are recorded by one session, which keeps them as long as it lives; later calls run without."""


class DeviceCopies:
    """Buffers on the device for values of the host, by the name that they are bound to. `make` gives one like a value.

    The calls of one decoder share them, of which one runs at a time.
    """

    def __init__(self, make: Callable[[LaidOutValue], LaidOutValue]) -> None:
        self._make = make
        self._current: dict[str, LaidOutValue] = {}
        self._kept: dict[tuple[str, tuple[int, ...]], LaidOutValue] = {}
        self._results: dict[str, tuple[Value, LaidOutValue]] = {}

    def given(self, name: str, value: Value) -> LaidOutValue:
        """What the program reads for `value`, whose content it has now."""
        found = cast(LaidOutValue, value)
        if not _on_host(found):
            return found
        buffer = self._buffer(name, found)
        buffer.update_inplace(value)
        return buffer

    def taken(self, name: str, value: Value) -> LaidOutValue:
        """What the program writes for `value`, which has the content after `deliver`."""
        found = cast(LaidOutValue, value)
        self._results.pop(name, None)
        if not _on_host(found):
            return found
        buffer = self._buffer(name, found)
        self._results[name] = value, buffer
        return buffer

    def deliver(self) -> None:
        """Copies results to the host."""
        for value, buffer in self._results.values():
            value.update_inplace(buffer.numpy())

    def keep(self) -> None:
        """Keeps the buffers, which a graph reads and writes, for when values have these shapes again."""
        for name, buffer in self._current.items():
            self._kept[name, tuple(buffer.shape())] = buffer

    def _buffer(self, name: str, value: LaidOutValue) -> LaidOutValue:
        shape = tuple(value.shape())
        current = self._current.get(name)
        if current is None or tuple(current.shape()) != shape:
            current = self._kept.get((name, shape)) or self._make(value)
            self._current[name] = current
        return current


class CudaGraphs:
    """The numbers of a session's graphs."""

    def __init__(self, library: OnnxRuntime) -> None:
        self._library = library
        self._numbers = itertools.count(1)
        self.unrecorded = self._options(UNRECORDED)
        self.one_at_a_time = Lock()
        """While a stream is recorded, nothing else may be given to it."""

    def new(self) -> RunOptions:
        """Options of a run that records a graph, and of those that replay it."""
        number = next(self._numbers)
        return self._options(number) if number <= MOST_GRAPHS else self.unrecorded

    def _options(self, number: int) -> RunOptions:
        options = self._library.RunOptions()
        options.add_run_config_entry(GRAPH, str(number))
        return options


class BoundCall(Protocol):
    """A binding: see `OnnxCall`."""

    def give(self, name: str, value: Value) -> None: ...
    def take(self, name: str, value: Value) -> None: ...
    def run(self, options: RunOptions | None = None) -> None: ...


class DeviceCall:
    """A call of which all that is bound lies on the device.

    A graph is of the memory that it was recorded with. It is recorded when one token of each row runs for the second
    time over the same buffers, and the library may run the step more than once for it: nothing is lost by that, for
    what a step changes in place it writes from what it does not change.
    """

    def __init__(self, call: BoundCall, copies: DeviceCopies, graphs: CudaGraphs | None) -> None:
        self._call = call
        self._copies = copies
        self._graphs = graphs
        self._bound: dict[str, Value] = {}
        self._seen: dict[tuple[int, ...], tuple[RunOptions | None, list[Value]]] = {}
        """By what was bound, which is held so that it stays what it was: how it runs again."""

    def give(self, name: str, value: Value) -> None:
        self._bind(name, self._copies.given(name, value), self._call.give)

    def take(self, name: str, value: Value) -> None:
        self._bind(name, self._copies.taken(name, value), self._call.take)

    def run(self) -> None:
        with nullcontext() if self._graphs is None else self._graphs.one_at_a_time:
            self._call.run(self._options())
        self._copies.deliver()

    def _bind(self, name: str, value: Value, bind: Callable[[str, Value], None]) -> None:
        if self._bound.get(name) is not value:
            self._bound[name] = value
            bind(name, value)

    def _options(self) -> RunOptions | None:
        if self._graphs is None:
            return None
        _, tokens = cast(LaidOutValue, self._bound[INPUT_IDS]).shape()
        if tokens != 1:
            return self._graphs.unrecorded
        key = tuple(map(id, self._bound.values()))
        if key not in self._seen:
            self._copies.keep()
            self._seen[key] = None, [*self._bound.values()]
            return self._graphs.unrecorded
        options, values = self._seen[key]
        if options is None:
            options = self._graphs.new()
            self._seen[key] = options, values
        return options


def _on_host(value: LaidOutValue) -> bool:
    return value.device_name() == "cpu"
