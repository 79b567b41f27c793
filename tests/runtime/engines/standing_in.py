"""A stand-in for ONNX Runtime on a GPU: sessions of the CPU over memory that is called the device's.

A graph that is recorded is replayed over the memory that it was recorded with, whatever is bound by then; and a run
that records one runs the step twice, as the library may.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphwright.runtime.element_types import ELEMENT_TYPES
from graphwright.runtime.onnxruntime_api import import_onnxruntime

CUDA = "CUDAExecutionProvider"
STORAGE = {element.onnx_number: element.storage for element in ELEMENT_TYPES.values()}
real = import_onnxruntime()


class Memory:
    """A value on a device or on the host."""

    def __init__(self, array: npt.NDArray[Any], number: int, device: str) -> None:
        self.array, self._number, self._device = array, number, device

    @classmethod
    def ortvalue_from_numpy_with_onnx_type(cls, array: npt.NDArray[Any], number: int) -> Memory:
        return cls(array, number, "cpu")

    @classmethod
    def ortvalue_from_shape_and_type(cls, shape: Sequence[int], number: int, device: str, _: int) -> Memory:
        found = np.empty(tuple(shape), STORAGE[number])
        found.view(np.uint8).fill(0xFF)
        return cls(found, number, device)

    def shape(self) -> list[int]:
        return [*self.array.shape]

    def element_type(self) -> int:
        return self._number

    def data_ptr(self) -> int:
        return self.array.ctypes.data

    def device_name(self) -> str:
        return self._device

    def numpy(self) -> npt.NDArray[Any]:
        return self.array if self._device == "cpu" else self.array.copy()

    def update_inplace(self, data: Memory | npt.NDArray[Any]) -> None:
        source = data.array if isinstance(data, Memory) else data
        assert (source.shape, source.dtype) == (self.array.shape, self.array.dtype)
        self.array[...] = source


class Binding:
    """What is bound, and how often something was."""

    def __init__(self) -> None:
        self.inputs: dict[str, npt.NDArray[Any]] = {}
        self.outputs: dict[str, npt.NDArray[Any]] = {}
        self.count = 0

    def _bind(self, where: dict[str, npt.NDArray[Any]], name: str, array: npt.NDArray[Any], device: str) -> None:
        assert device == "cuda", f"{name} is bound on the host"
        where[name] = array
        self.count += 1

    def bind_ortvalue_input(self, name: str, value: Memory) -> None:
        self._bind(self.inputs, name, value.array, value.device_name())

    def bind_ortvalue_output(self, name: str, value: Memory) -> None:
        self._bind(self.outputs, name, value.array, value.device_name())

    def bind_input(self, name: str, device: str, _: int, number: int, shape: Sequence[int], place: int) -> None:
        self._bind(self.inputs, name, _at(place, number, shape), device)

    def bind_output(self, name: str, device: str, _: int, number: int, shape: Sequence[int], place: int) -> None:
        self._bind(self.outputs, name, _at(place, number, shape), device)


def _at(place: int, number: int, shape: Sequence[int]) -> npt.NDArray[Any]:
    storage = np.dtype(STORAGE[number])
    size = int(np.prod(shape)) * storage.itemsize
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(place)).view(storage).reshape(tuple(shape))


class RunOptions:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


class Session:
    """`runs` are what became of each run: plain, recorded or replayed."""

    def __init__(self, path: str, options: Any, *, providers: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        self._session = real.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._providers = [name for name, _ in providers]
        self.records = dict(providers)[CUDA].get("enable_cuda_graph") == "1"
        self._recorded: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self.bindings: list[Binding] = []
        self.runs: list[str] = []

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        return self._session.get_outputs()

    def get_providers(self) -> list[str]:
        return self._providers

    def io_binding(self) -> Binding:
        self.bindings.append(Binding())
        return self.bindings[-1]

    def run_with_iobinding(self, binding: Binding, options: RunOptions | None = None) -> None:
        # Without a name a session records its runs as one graph.
        name = "-1" if not self.records else "0" if options is None else options.entries["gpu_graph_id"]
        if name == "-1":
            self._run(binding.inputs, binding.outputs)
            self.runs.append("plain")
        elif name in self._recorded:
            self._run(*self._recorded[name])
            self.runs.append("replayed")
        else:
            self._recorded[name] = dict(binding.inputs), dict(binding.outputs)
            for _ in range(2):
                self._run(binding.inputs, binding.outputs)
            self.runs.append("recorded")

    def _run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        found = self._session.run([*outputs], dict(inputs))
        for place, result in zip(outputs.values(), found, strict=True):
            place[...] = result


class Library:
    """The package."""

    OrtValue = Memory
    RunOptions = RunOptions
    SessionOptions = real.SessionOptions

    def __init__(self) -> None:
        self.sessions: list[Session] = []

    def get_available_providers(self) -> list[str]:
        return [CUDA, "CPUExecutionProvider"]

    def InferenceSession(self, path: str, options: Any, *, providers: Any) -> Session:
        self.sessions.append(Session(path, options, providers=providers))
        return self.sessions[-1]
