"""Which engine executes a program."""

from importlib import import_module
from typing import cast

from graphwright.runtime.artifact import Artifact
from graphwright.runtime.engines.engine import Device, Engine, EngineFactory
from graphwright.runtime.errors import SessionError

ENGINES = {
    "onnx": ("graphwright.runtime.engines.onnxruntime", "OnnxRuntimeEngine"),
    "tvm": ("graphwright.runtime.engines.tvm", "TvmEngine"),
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
