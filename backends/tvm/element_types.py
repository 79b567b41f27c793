"""Element types, as TVM names them."""

from __future__ import annotations

from graphwright.ir.types import DType

TVM_TYPES: dict[DType, str] = {
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
