"""The backends that come with Graphwright. Nothing else knows their list."""

from graphwright.backends.interface import Backend
from graphwright.backends.onnx import OnnxBackend
from graphwright.backends.tvm import TvmBackend

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (OnnxBackend(), TvmBackend())}
"""By name; the first is the default."""
