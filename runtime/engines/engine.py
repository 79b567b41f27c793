"""What the runtime asks of a library that executes programs, and which one executes those of which backend."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from graphwright.runtime.artifact import Artifact, CacheSpec, EncoderSpec, FunctionSpec, Program, StateSpec, TensorSpec
from graphwright.runtime.artifact.convention import ENCODE
from graphwright.runtime.element_types import ElementTypeName
from graphwright.runtime.errors import SessionError

Device = Literal["cpu", "cuda"]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Signature:
    """What the manifest says of one file to execute."""

    file: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    in_place: tuple[CacheSpec, ...]
    alternating: tuple[CacheSpec | StateSpec, ...]
    kept: tuple[CacheSpec | StateSpec, ...]
    functions: tuple[FunctionSpec, ...]
    dimensions: tuple[str, ...]

    @classmethod
    def of_program(cls, program: Program) -> "Signature":
        """Of the decoder or the function."""
        kept = program.in_place, program.alternating, program.kept
        return cls(program.file, program.inputs, program.outputs, *kept, program.functions, program.dimensions)

    @classmethod
    def of_encoder(cls, encoder: EncoderSpec) -> "Signature":
        functions = (FunctionSpec(name=ENCODE),)
        return cls(encoder.file, encoder.inputs, encoder.outputs, (), (), (), functions, encoder.dimensions)


class Value(Protocol):
    """A tensor that programs read and write, in the memory of the engine's device."""

    def numpy(self) -> Array:
        """Its content: its very memory if that is the host's, else a copy."""
        ...

    def update_inplace(self, data: Any) -> None:
        """Overwrite its content with an array, or a value of the same engine, of the same shape and type."""
        ...


class Call(Protocol):
    """A call of a program, whose arguments stay bound from one run to the next. Not for two threads at once."""

    def give(self, name: str, value: Value) -> None:
        """Let the program read the input `name` from `value`."""
        ...

    def take(self, name: str, value: Value) -> None:
        """Let the program write the output `name` to `value`: the input's own where a cache is updated in place."""
        ...

    def run(self) -> None:
        """Raises SessionError when the program fails."""
        ...


class Executable(Protocol):
    """One loaded file. Safe to use from several threads at once."""

    def calls(self, count: int) -> Sequence[Call]:
        """Calls of which one is run at a time, so that they may share memory."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, in new arrays. Raises SessionError when the program fails."""
        ...

    def values(self, inputs: Mapping[str, Array]) -> dict[str, Value]:
        """The outputs by name, left on the device. Raises SessionError when the program fails."""
        ...


class Engine(Protocol):
    """A library at work on a device, with the artifact whose files it executes."""

    @property
    def on_host(self) -> bool:
        """Whether values view the memory of arrays; if not, the binding of an array is what copies it."""
        ...

    def view(self, array: npt.NDArray[np.generic], dtype: ElementTypeName) -> Value:
        """A value over `array`'s own memory, which has to outlive it and is aligned (`aligned_empty`)."""
        ...

    def place(self, array: npt.NDArray[np.generic], dtype: ElementTypeName) -> Value:
        """A value on the device with the content of `array`: a view of it if that is on the host."""
        ...

    def load(self, signature: Signature) -> Executable:
        """Raises SessionError for a file that cannot be loaded, or is not what the signature says."""
        ...


@runtime_checkable
class ManagesMemory(Protocol):
    """An engine that hands out the memory of its device itself."""

    def zeros(self, shape: tuple[int, ...], dtype: ElementTypeName, name: str) -> Value:
        """A value of zeros, whose axis 0 is the batch; its name is for messages."""
        ...

    def check_room(self, size: int, what: str) -> None:
        """Raises ContextError where the device has not so many bytes left for `what`."""
        ...


@runtime_checkable
class CopiesRows(Protocol):
    """A value whose rows (axis 0) change without a way over the host."""

    def copy_rows(self, other: Any, rows: Sequence[int]) -> None:
        """Take over these rows of a value of the same engine, shape and type."""
        ...

    def clear_rows(self, rows: Sequence[int]) -> None:
        """Make these rows zero."""
        ...


class EngineFactory(Protocol):
    """What starts an engine: its class, or a function."""

    def __call__(self, artifact: Artifact, *, threads: int, device: Device) -> Engine:
        """Raises SessionError for a device or a library that is not there."""
        ...


ENGINES = {
    "onnx": ("graphwright.runtime.engines.onnxruntime", "OnnxRuntimeEngine"),
    "tvm": ("graphwright.runtime.engines.native", "NativeEngine"),
    "cuda": ("graphwright.runtime.engines.cuda", "CudaEngine"),
}
"""Of each backend the module and the class, imported on first use."""


def start_engine(artifact: Artifact, *, threads: int, device: Device) -> Engine:
    """The engine for the artifact's backend. Imports its library, and no other.

    Raises SessionError for another backend, and for a device or a library that is not there.
    """
    backend = artifact.manifest.program.backend
    if backend not in ENGINES:
        raise SessionError(
            f"{artifact.folder}: the program is for the backend {backend!r}; this runtime runs "
            f"{' and '.join(map(repr, ENGINES))}: compile the model for one of them"
        )
    module, name = ENGINES[backend]
    factory = cast(EngineFactory, getattr(import_module(module), name))
    return factory(artifact, threads=threads, device=device)
