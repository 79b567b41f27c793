"""Folders for other runtimes: plain ONNX, onnxruntime-genai, Hugging Face optimum."""

from graphwright.backends.onnx.export.folder import LAYOUTS, export_folder

__all__ = ["LAYOUTS", "export_folder"]
