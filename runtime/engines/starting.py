"""Which engine executes a program."""

from graphwright.runtime.artifact import Artifact
from graphwright.runtime.engines.engine import Device, Engine
from graphwright.runtime.errors import SessionError


def start_engine(artifact: Artifact, *, threads: int, device: Device) -> Engine:
    """The engine for the artifact's backend. Imports its library, and no other.

    Raises SessionError for another backend, and for a device or a library that is not there.
    """
    backend = artifact.manifest.program.backend
    if backend == "onnx":
        from graphwright.runtime.engines.onnxruntime import OnnxRuntimeEngine

        return OnnxRuntimeEngine(artifact, threads=threads, device=device)
    if backend == "tvm":
        from graphwright.runtime.engines.tvm import TvmEngine

        return TvmEngine(artifact, threads=threads, device=device)
    raise SessionError(
        f"{artifact.folder}: the program is for the backend {backend!r}; "
        "this runtime runs 'onnx' and 'tvm': compile the model for one of them"
    )
