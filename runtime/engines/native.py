"""Libraries of machine code: compiled functions over one mapped file of weights."""

import mmap
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphwright.runtime.aligned import aligned, aligned_empty
from graphwright.runtime.artifact import Artifact
from graphwright.runtime.element_types import ELEMENT_TYPES, ElementTypeName
from graphwright.runtime.engines.engine import Array, Device, Signature, Value
from graphwright.runtime.engines.native_call import NativeCall, Workspace
from graphwright.runtime.engines.native_library import CompiledFunction, NativeValue, load_functions
from graphwright.runtime.errors import SessionError


class NativeEngine:
    """Runs on the CPU, and maps the weights once for all libraries of the artifact."""

    on_host = True

    def __init__(self, artifact: Artifact, *, threads: int, device: Device) -> None:
        if device != "cpu":
            raise SessionError(f"device {device!r} is not available: a program of the backend 'tvm' runs on the cpu")
        self._artifact = artifact
        self.threads = threads
        file = artifact.manifest.program.weights
        assert file is not None, "the manifest of this backend is checked to have it"
        self.weights = self.view(_mapped(artifact, file), "uint8")

    def view(self, array: npt.NDArray[np.generic], dtype: ElementTypeName) -> NativeValue:
        return NativeValue(array, dtype)

    def place(self, array: npt.NDArray[np.generic], dtype: ElementTypeName) -> NativeValue:
        return self.view(array, dtype)

    def load(self, signature: Signature) -> "NativeExecutable":
        functions = load_functions(self._artifact.path(signature.file), signature.functions)
        return NativeExecutable(self, signature, functions)


class NativeExecutable:
    """The functions of one library."""

    def __init__(self, engine: NativeEngine, signature: Signature, functions: Sequence[CompiledFunction]) -> None:
        self._engine = engine
        self._signature = signature
        self._functions = functions
        self._idle: deque[Workspace] = deque()
        """What the next `values` may use."""

    def calls(self, count: int) -> Sequence[NativeCall]:
        workspace = Workspace()
        return [self._call(workspace) for _ in range(count)]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {name: value.numpy() for name, value in self.values(inputs).items()}

    def values(self, inputs: Mapping[str, Array]) -> dict[str, Value]:
        try:
            workspace = self._idle.pop()
        except IndexError:
            workspace = Workspace()
        call = self._call(workspace)
        for name, array in inputs.items():
            call.give(name, self._engine.view(aligned(array), self._signature.inputs[name].dtype))
        sizes = call.sizes()
        results: dict[str, Value] = {}
        for name, spec in self._signature.outputs.items():
            shape = tuple(sizes[size] if isinstance(size, str) else size for size in spec.shape)
            results[name] = self._engine.view(self._result(shape, spec.dtype), spec.dtype)
            call.take(name, results[name])
        call.run()
        self._idle.append(workspace)
        return results

    def _result(self, shape: tuple[int, ...], dtype: ElementTypeName) -> npt.NDArray[Any]:
        try:
            return aligned_empty(shape, ELEMENT_TYPES[dtype].storage)
        except MemoryError:
            raise SessionError(
                f"{self._signature.file}: an output of {' x '.join(map(str, shape))} numbers needs more memory than "
                "this machine has; use smaller inputs"
            ) from None

    def _call(self, workspace: Workspace) -> NativeCall:
        engine = self._engine
        return NativeCall(self._signature, self._functions, workspace, engine.weights, engine.threads)


def _mapped(artifact: Artifact, file: str) -> npt.NDArray[Any]:
    """The whole file, which nothing can write to."""
    try:
        with artifact.path(file).open("rb") as opened:
            return np.frombuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ), dtype=np.uint8)
    except (OSError, ValueError) as error:
        raise SessionError(f"{artifact.path(file)} cannot be mapped: {error}") from None
