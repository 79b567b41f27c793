"""Folders for other runtimes: plain ONNX, onnxruntime-genai, Hugging Face optimum."""

from graphwright.backends.onnx.export.folder import LAYOUTS, check_layout, export_folder, layout_texts

__all__ = ["LAYOUTS", "check_layout", "export_folder", "layout_texts"]
