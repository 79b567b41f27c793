"""The ONNX backend: lowered programs to artifacts and to folders for other runtimes.

What writes ONNX is imported on first use.
"""

from graphwright.backends.onnx.backend import OnnxBackend, OnnxOptions

__all__ = ["OnnxBackend", "OnnxOptions"]
