"""Lowering for ONNX Runtime: passes that rewrite a program until the table of a dialect takes every op of it."""

from graphwright.passes.lowering.ort.hugging_face_interface import HuggingFaceInterface
from graphwright.passes.lowering.ort.sequence import to_dialect

__all__ = ["HuggingFaceInterface", "to_dialect"]
