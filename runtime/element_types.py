"""Element types a program may exchange with the runtime, and how each is named and stored."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

ElementTypeName = Literal[
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"
]


@dataclass(frozen=True)
class ElementType:
    """One element type: its storage in numpy, its number in ONNX (`TensorProto.DataType`) and ONNX Runtime's name.

    bfloat16 has no numpy type; it is stored as its bit pattern in uint16.
    """

    storage: np.dtype[np.generic]
    onnx_number: int
    onnxruntime_name: str


def _row(storage: str, onnx_number: int, onnxruntime_name: str) -> ElementType:
    return ElementType(np.dtype(storage), onnx_number, f"tensor({onnxruntime_name})")


ELEMENT_TYPES: dict[ElementTypeName, ElementType] = {
    "float64": _row("float64", 11, "double"),
    "float32": _row("float32", 1, "float"),
    "float16": _row("float16", 10, "float16"),
    "bfloat16": _row("uint16", 16, "bfloat16"),
    "int64": _row("int64", 7, "int64"),
    "int32": _row("int32", 6, "int32"),
    "int16": _row("int16", 5, "int16"),
    "int8": _row("int8", 3, "int8"),
    "uint8": _row("uint8", 2, "uint8"),
    "bool": _row("bool", 9, "bool"),
}
