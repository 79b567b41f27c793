"""One loaded program, with its encoder if it has one, shared by any number of caches and threads."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from graphwright.runtime.artifact import Artifact, Program, TensorSpec
from graphwright.runtime.cores import available_cores
from graphwright.runtime.cpu_features import check_cpu_features
from graphwright.runtime.element_types import ELEMENT_TYPES, ElementTypeName
from graphwright.runtime.errors import SessionError
from graphwright.runtime.onnxruntime_api import (
    InferenceSession,
    NodeArg,
    OnnxRuntime,
    OrtValue,
    import_onnxruntime,
)

Device = Literal["cpu", "cuda"]

_PROVIDERS: dict[str, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
}


NO_ROUNDING = "session.qdq_matmulnbits_accuracy_level", "0"
"""ONNX Runtime multiplies by the codes of a dequantized weight and, left to itself, rounds the other operand to int8. A
program that is to round says so."""


class Session:
    """An ONNX Runtime session over an artifact's program; safe to use from several threads at once.

    `threads` is the number of cores to use (by default all physical cores this process may occupy). Raises
    SessionError when the program does not fit this machine, the device, or its own manifest.
    """

    def __init__(self, artifact: Artifact, *, threads: int | None = None, device: Device = "cpu") -> None:
        self.manifest = artifact.manifest
        self.program = artifact.manifest.program
        if self.program.backend != "onnx":
            raise SessionError(
                f"{artifact.folder}: the program is for the backend {self.program.backend!r}; "
                "this runtime runs 'onnx': compile the model for it"
            )
        if threads is not None and threads < 1:
            raise SessionError(f"threads is {threads}; it must be at least 1")
        check_cpu_features(self.program.cpu_features)
        self.device: Device = device
        self.onnxruntime = import_onnxruntime()
        threads = threads or available_cores()
        self.inference = self._start(artifact, self.program.file, threads)
        _check_signature(self.inference, self.program)
        self.encoder: InferenceSession | None = None
        encoder = self.program.encoder
        if encoder is not None:
            self.encoder = self._start(artifact, encoder.file, threads)
            _check(self.encoder, encoder.file, _dtypes(encoder.inputs), _dtypes(encoder.outputs))

    @property
    def vocabulary_size(self) -> int:
        """Of a decoder; a function has none."""
        size = self.manifest.model.vocabulary_size
        assert size is not None, "the manifest of a decoder is checked to have it"
        return size

    @property
    def context_length(self) -> int:
        """Of a decoder, in tokens; a function has none."""
        length = self.manifest.model.context_length
        assert length is not None, "the manifest of a decoder is checked to have it"
        return length

    def view(self, array: npt.NDArray[np.generic], dtype: ElementTypeName) -> OrtValue:
        """A value over `array`'s own memory, which has to outlive it."""
        return self.onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, ELEMENT_TYPES[dtype].onnx_number)

    def _start(self, artifact: Artifact, file: str, threads: int) -> InferenceSession:
        providers = _providers(self.onnxruntime, self.device)
        options = self.onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Both are the library's defaults and both are decisive for decode speed, so neither is left to a default.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.disable_prepacking", "0")
        options.add_session_config_entry(*NO_ROUNDING)
        errors_only = 3
        options.log_severity_level = errors_only
        path = artifact.path(file)
        try:
            session = self.onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # its exception types have no public common base
            raise SessionError(f"{path} cannot be loaded by ONNX Runtime: {error}") from None
        # When a provider fails to start, ONNX Runtime falls back to the CPU without an error.
        if session.get_providers()[0] != providers[0]:
            raise SessionError(f"{providers[0]} did not start; look for missing CUDA or cuDNN libraries, or use cpu")
        return session


def _providers(onnxruntime: OnnxRuntime, device: str) -> tuple[str, ...]:
    if device not in _PROVIDERS:
        raise SessionError(f"device is {device!r}; it must be one of {', '.join(_PROVIDERS)}")
    providers = _PROVIDERS[device]
    if providers[0] not in onnxruntime.get_available_providers():
        raise SessionError(
            f"device {device!r} is not available: the installed ONNX Runtime has no {providers[0]}; "
            f"install graphwright[{device}] on a machine that has one"
        )
    return providers


def _check_signature(session: InferenceSession, program: Program) -> None:
    """The manifest must describe the very inputs and outputs of the program."""
    inputs, outputs = _dtypes(program.inputs), _dtypes(program.outputs)
    inputs |= {kept.input: kept.dtype for kept in program.kept}
    outputs |= {kept.output: kept.dtype for kept in program.kept}
    _check(session, program.file, inputs, outputs)


def _dtypes(specs: Mapping[str, TensorSpec]) -> dict[str, ElementTypeName]:
    return {name: spec.dtype for name, spec in specs.items()}


def _check(
    session: InferenceSession,
    file: str,
    inputs: Mapping[str, ElementTypeName],
    outputs: Mapping[str, ElementTypeName],
) -> None:
    for kind, stated, actual in (("input", inputs, session.get_inputs()), ("output", outputs, session.get_outputs())):
        _compare(kind, {name: ELEMENT_TYPES[dtype].onnxruntime_name for name, dtype in stated.items()}, actual, file)


def _compare(kind: str, stated: dict[str, str], actual: Sequence[NodeArg], file: str) -> None:
    found = {argument.name: argument.type for argument in actual}
    for name in sorted(stated.keys() | found.keys()):
        if stated.get(name) != found.get(name):
            raise SessionError(
                f"{file}: {kind} {name} is {found.get(name, 'absent')} in the program and "
                f"{stated.get(name, 'absent')} in the manifest; compile the model again"
            )
