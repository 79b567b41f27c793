"""ONNX Runtime."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from graphwright.runtime.artifact import Artifact, TensorSpec
from graphwright.runtime.artifact.convention import INPUT_IDS
from graphwright.runtime.element_types import ELEMENT_TYPES, ElementTypeName
from graphwright.runtime.engines.engine import Array, Call, Device, Signature, Value
from graphwright.runtime.engines.onnxruntime_device import CudaGraphs, DeviceCall, DeviceCopies
from graphwright.runtime.errors import SessionError
from graphwright.runtime.onnxruntime_api import (
    InferenceSession,
    IOBinding,
    LaidOutValue,
    NodeArg,
    OrtValue,
    RunOptions,
    SessionOptions,
    import_onnxruntime,
)

_CUDA = "CUDAExecutionProvider"
_PROVIDERS: dict[Device, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": (_CUDA, "CPUExecutionProvider"),
}

_PROVIDER_OPTIONS: dict[str, dict[str, str]] = {_CUDA: {"use_tf32": "0"}}
"""Left to itself, ONNX Runtime rounds the operands of float32 products to 11 bits on GPUs."""

RECORDING = {"enable_cuda_graph": "1"}
"""For sessions whose runs are recorded as CUDA graphs. One that cannot be recorded as a whole does not start so."""
NO_ROUNDING = "session.qdq_matmulnbits_accuracy_level", "0"
"""ONNX Runtime multiplies by the codes of a dequantized weight and, left to itself, rounds the other operand to int8. A
program that is to round says so."""


class OnnxRuntimeEngine:
    """One session an executable; each has as many threads as are asked for."""

    def __init__(self, artifact: Artifact, *, threads: int, device: Device) -> None:
        self._artifact = artifact
        self._library = import_onnxruntime()
        self._device: Device = device
        self._threads = threads
        self._providers = _PROVIDERS[device]
        if self._providers[0] not in self._library.get_available_providers():
            extra = "onnx-cuda" if device == "cuda" else "cpu"
            raise SessionError(
                f"device {device!r} is not available: the installed ONNX Runtime has no {self._providers[0]}; "
                f"in the clone, `pip install -e '.[{extra}]'` on a machine that has one"
            )

    @property
    def runs_rows_apart(self) -> bool:
        return self._artifact.manifest.program.rows_apart

    @property
    def on_host(self) -> bool:
        return self._device == "cpu"

    def view(self, array: npt.NDArray[np.generic], dtype: ElementTypeName) -> OrtValue:
        return self._library.OrtValue.ortvalue_from_numpy_with_onnx_type(array, ELEMENT_TYPES[dtype].onnx_number)

    def place(self, array: npt.NDArray[np.generic], dtype: ElementTypeName) -> OrtValue:
        view = self.view(array, dtype)
        if self.on_host:
            return view
        number = ELEMENT_TYPES[dtype].onnx_number
        placed = self._allocated(array.shape, number)
        placed.update_inplace(view)
        return placed

    def _allocated(self, shape: Sequence[int], number: int) -> LaidOutValue:
        return self._library.OrtValue.ortvalue_from_shape_and_type(shape, number, self._device, 0)

    def device_copies(self) -> DeviceCopies:
        """Buffers for what a decoder's calls read and write on the host."""
        return DeviceCopies(lambda value: self._allocated(value.shape(), value.element_type()))

    def load(self, signature: Signature) -> "OnnxExecutable":
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self._threads
        # Both are the library's defaults and both are decisive for decode speed, so neither is left to a default.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.disable_prepacking", "0")
        options.add_session_config_entry(*NO_ROUNDING)
        errors_only = 3
        options.log_severity_level = errors_only
        path = self._artifact.path(signature.file)
        records = self._device == "cuda" and self._artifact.manifest.program.recordable and bool(signature.kept)
        try:
            session = self._session(str(path), options, records)
        except Exception as error:  # its exception types have no public common base
            raise SessionError(f"{path} cannot be loaded by ONNX Runtime: {error}") from None
        # When a provider fails to start, ONNX Runtime falls back to the CPU without an error.
        if session.get_providers()[0] != self._providers[0]:
            raise SessionError(
                f"{self._providers[0]} did not start; look for missing CUDA or cuDNN libraries, or use cpu"
            )
        _check(session, signature)
        graphs = CudaGraphs(self._library) if records else None
        return OnnxExecutable(self, session, signature, self._device, graphs)

    def _session(self, path: str, options: SessionOptions, records: bool) -> InferenceSession:
        own = _PROVIDER_OPTIONS | ({_CUDA: _PROVIDER_OPTIONS[_CUDA] | RECORDING} if records else {})
        return self._library.InferenceSession(
            path, options, providers=[(name, own.get(name, {})) for name in self._providers]
        )


class OnnxExecutable:
    """A session over one file."""

    def __init__(
        self,
        engine: OnnxRuntimeEngine,
        inference: InferenceSession,
        signature: Signature,
        device: Device,
        graphs: CudaGraphs | None,
    ) -> None:
        self.inference = inference
        self._graphs = graphs
        self._engine = engine
        self._signature = signature
        self._device: Device = device

    def calls(self, count: int) -> Sequence[Call]:
        make = RowsCall if self._engine.runs_rows_apart else OnnxCall
        calls = [make(self.inference, self._signature.file) for _ in range(count)]
        if self._engine.on_host:
            return calls
        copies = self._engine.device_copies()
        return [DeviceCall(call, copies, self._graphs) for call in calls]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        names = list(self._signature.outputs)
        try:
            return dict(zip(names, self.inference.run(names, inputs), strict=True))
        except Exception as error:  # the library's exception types have no public common base
            raise _failure(self._signature.file, error) from None

    def values(self, inputs: Mapping[str, Array]) -> dict[str, Value]:
        binding = self.inference.io_binding()
        try:
            for name, array in inputs.items():
                binding.bind_ortvalue_input(name, self._engine.view(array, self._signature.inputs[name].dtype))
            for name in self._signature.outputs:
                binding.bind_output(name, self._device)
            self.inference.run_with_iobinding(binding)
            return dict(zip(self._signature.outputs, binding.get_outputs(), strict=True))
        except Exception as error:  # the library's exception types have no public common base
            raise _failure(self._signature.file, error) from None


class OnnxCall:
    """A binding of a session."""

    def __init__(self, inference: InferenceSession, file: str) -> None:
        self._inference = inference
        self._binding = inference.io_binding()
        self._file = file

    def give(self, name: str, value: Value) -> None:
        self._binding.bind_ortvalue_input(name, value)

    def take(self, name: str, value: Value) -> None:
        self._binding.bind_ortvalue_output(name, value)

    def run(self, options: RunOptions | None = None) -> None:
        self._run(self._binding, options)

    def _run(self, binding: IOBinding, options: RunOptions | None) -> None:
        try:
            self._inference.run_with_iobinding(binding, options)
        except Exception as error:  # the library's exception types have no public common base
            raise _failure(self._file, error) from None


class RowsCall(OnnxCall):
    """A binding of a session over a decoder that takes several tokens of one row alone.

    All that a decoder takes and gives has its rows along the first axis, so a row is memory of its own: a step of
    several tokens of several rows binds each row's part of every value, and runs once for each.
    """

    def __init__(self, inference: InferenceSession, file: str) -> None:
        super().__init__(inference, file)
        self._inputs: dict[str, LaidOutValue] = {}
        self._outputs: dict[str, LaidOutValue] = {}

    def give(self, name: str, value: Value) -> None:
        super().give(name, value)
        self._inputs[name] = cast(LaidOutValue, value)

    def take(self, name: str, value: Value) -> None:
        super().take(name, value)
        self._outputs[name] = cast(LaidOutValue, value)

    def run(self, options: RunOptions | None = None) -> None:
        rows, tokens = self._inputs[INPUT_IDS].shape()
        if rows == 1 or tokens == 1:
            super().run(options)
            return
        for row in range(rows):
            binding = self._inference.io_binding()
            for bind, values in ((binding.bind_input, self._inputs), (binding.bind_output, self._outputs)):
                for name, value in values.items():
                    shape = value.shape()
                    size = _ITEM_SIZES[value.element_type()] * math.prod(shape[1:])
                    start = value.data_ptr() + row * size
                    bind(name, value.device_name(), 0, value.element_type(), [1, *shape[1:]], start)
            self._run(binding, options)


_ITEM_SIZES = {element.onnx_number: element.storage.itemsize for element in ELEMENT_TYPES.values()}
"""Bytes of an element, by the number that ONNX has for its type."""


def _failure(file: str, error: Exception) -> SessionError:
    return SessionError(f"{file}: the program failed: {error}")


def _check(session: InferenceSession, signature: Signature) -> None:
    """The manifest must describe the very inputs and outputs of the program."""
    inputs, outputs = _dtypes(signature.inputs), _dtypes(signature.outputs)
    inputs |= {kept.input: kept.dtype for kept in signature.kept}
    outputs |= {kept.output: kept.dtype for kept in signature.kept}
    for kind, stated, actual in (("input", inputs, session.get_inputs()), ("output", outputs, session.get_outputs())):
        names = {name: ELEMENT_TYPES[dtype].onnxruntime_name for name, dtype in stated.items()}
        _compare(kind, names, actual, signature.file)


def _dtypes(specs: Mapping[str, TensorSpec]) -> dict[str, ElementTypeName]:
    return {name: spec.dtype for name, spec in specs.items()}


def _compare(kind: str, stated: dict[str, str], actual: Sequence[NodeArg], file: str) -> None:
    found = {argument.name: argument.type for argument in actual}
    for name in sorted(stated.keys() | found.keys()):
        if stated.get(name) != found.get(name):
            raise SessionError(
                f"{file}: {kind} {name} is {found.get(name, 'absent')} in the program and "
                f"{stated.get(name, 'absent')} in the manifest; compile the model again"
            )
