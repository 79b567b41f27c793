"""How element types are named on ONNX's side and in a safetensors header."""

from __future__ import annotations

from onnx import TensorProto

from graphwright.ir.types import DType
from graphwright.ir.weights import SAFETENSORS_DTYPES
from graphwright.runtime.artifact import ElementTypeName

ONNX_TYPES: dict[DType, int] = {
    DType.BOOL: TensorProto.BOOL,
    DType.I4: TensorProto.INT4,
    DType.U4: TensorProto.UINT4,
    DType.I8: TensorProto.INT8,
    DType.U8: TensorProto.UINT8,
    DType.I16: TensorProto.INT16,
    DType.I32: TensorProto.INT32,
    DType.I64: TensorProto.INT64,
    DType.F8E4M3: TensorProto.FLOAT8E4M3FN,
    DType.F8E5M2: TensorProto.FLOAT8E5M2,
    DType.F16: TensorProto.FLOAT16,
    DType.BF16: TensorProto.BFLOAT16,
    DType.F32: TensorProto.FLOAT,
    DType.F64: TensorProto.DOUBLE,
}

SAFETENSORS_NAMES: dict[DType, str] = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}

MANIFEST_NAMES: dict[DType, ElementTypeName] = {
    DType.BOOL: "bool",
    DType.I8: "int8",
    DType.U8: "uint8",
    DType.I16: "int16",
    DType.I32: "int32",
    DType.I64: "int64",
    DType.F16: "float16",
    DType.BF16: "bfloat16",
    DType.F32: "float32",
    DType.F64: "float64",
}
"""Those that can cross the border of a program."""
