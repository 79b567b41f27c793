"""How element types are named on ONNX's side."""

from onnx import TensorProto

from graphwright.ir.types import DType

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
