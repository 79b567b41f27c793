"""The ONNX backend: optimized programs to artifacts, in the dialects `ort` and `portable`."""

from graphwright.backends.onnx import dialect
from graphwright.backends.onnx.compile import BuildReport, build_artifact
from graphwright.backends.onnx.export import export_folder

__all__ = ["BuildReport", "build_artifact", "dialect", "export_folder"]
