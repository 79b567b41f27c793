"""How element types are named in a safetensors header and in an artifact's manifest."""

from graphwright.ir.safetensors_file import SAFETENSORS_DTYPES
from graphwright.ir.types import DType
from graphwright.runtime.artifact import ElementTypeName

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
"""Those that can cross the border of a program; TVM names them so too."""

DTYPES: dict[str, DType] = {name: dtype for dtype, name in MANIFEST_NAMES.items()}
