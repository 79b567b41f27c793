"""Element types of the IR and of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphwright.ir.errors import UnsupportedError, WeightError
from graphwright.ir.lazy import torch
from graphwright.ir.types import DType

if TYPE_CHECKING:
    from torch import Tensor


def dtype_of(array: Tensor) -> DType:
    """The IR's element type of a torch tensor."""
    name = str(array.dtype)
    if name not in _TORCH_NAMES:
        raise UnsupportedError(f"{name} values are not supported; write the model with real numbers")
    return DType(_TORCH_NAMES[name])


def torch_dtype(dtype: DType) -> Any:
    """The torch dtype of an element type. Integers that torch lacks are held in wider ones, f4e2m1 as its bits."""
    name = _NAMES_IN_TORCH.get(dtype)
    if name is None:
        raise WeightError(f"torch has no element type for {dtype}")
    return getattr(torch, name)


_TORCH_NAMES = {
    "torch.bool": "bool",
    "torch.int8": "i8",
    "torch.uint8": "u8",
    "torch.int16": "i16",
    "torch.int32": "i32",
    "torch.int64": "i64",
    "torch.float16": "f16",
    "torch.bfloat16": "bf16",
    "torch.float32": "f32",
    "torch.float64": "f64",
    "torch.float8_e4m3fn": "f8e4m3",
    "torch.float8_e5m2": "f8e5m2",
    "torch.float8_e8m0fnu": "f8e8m0",
}
_NARROW_INTEGERS = {d: "uint8" if d.value[0] == "u" else "int8" for d in DType if d.is_integer and d.bits < 8}
_NAMES_IN_TORCH = {
    **{DType(ours): name.removeprefix("torch.") for name, ours in _TORCH_NAMES.items()},
    **_NARROW_INTEGERS,
    DType.F4E2M1: "uint8",
}
