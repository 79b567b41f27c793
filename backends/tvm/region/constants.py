"""Tensors whose values stand in a Relax function: they go to the weights file, each once."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from graphwright.backends.element_types import MANIFEST_NAMES
from graphwright.backends.tvm.tvm_library import relax, tvm
from graphwright.ir.dims import Dim
from graphwright.ir.lazy import torch
from graphwright.ir.types import TensorType
from graphwright.ir.weights import StoredArray, Weight

CONSTANT = "constant"
"""Begins the name of a weight that no model has."""
_TYPES = {name: dtype for dtype, name in MANIFEST_NAMES.items()}


def is_constant(expression: Any) -> bool:
    """Whether an expression is a tensor of known values."""
    return isinstance(expression, tvm.ir.GenericConst) and isinstance(expression.ty, relax.TensorType)


def constant_name(constant: Any) -> str:
    """The weight of a constant: equal ones have one name."""
    array = constant.value.numpy()
    return f"{CONSTANT}.{array.dtype}.{'x'.join(map(str, array.shape))}.{sha256(array.tobytes()).hexdigest()[:16]}"


def constant_weights(functions: list[Any]) -> dict[str, Weight]:
    """The weights of all constants in Relax functions, by name."""
    found: dict[str, Weight] = {}
    for constant in (c for function in functions for c in _constants(function)):
        name = constant_name(constant)
        if name not in found:
            value = torch.tensor(constant.value.numpy())
            type = TensorType(_TYPES[str(constant.ty.dtype)], tuple(map(Dim.of, value.shape)))
            found[name] = Weight(name, StoredArray(value, type))
    return found


def _constants(function: Any) -> Iterator[Any]:
    for block in function.body.blocks:
        for binding in block.bindings:
            operands = list(binding.value.args) if isinstance(binding.value, tvm.ir.Call) else [binding.value]
            for operand in operands:
                yield from filter(is_constant, operand.fields if isinstance(operand, tvm.ir.Tuple) else [operand])
