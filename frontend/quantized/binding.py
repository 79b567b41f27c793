"""Quantized layers as weights of a model of floats: each stands for its numbers, and keeps how they are stored."""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from graphwright.frontend.hugging_face_weights import origin
from graphwright.frontend.quantized.expressions import apply, transposed
from graphwright.frontend.quantized.layer import QuantizedLayer, Rounding
from graphwright.ir import DType, UnsupportedError, ops
from graphwright.ir.weights import Applied, WeightExpression


def dequantized(layers: Mapping[str, QuantizedLayer], dtype: torch.dtype) -> dict[str, WeightExpression]:
    """The layers' weights as floats, by the names that they would have in an unquantized checkpoint.

    In float32, or float64 if that is asked for: half precision does not hold a code times its scale.
    """
    wide = DType.F64 if dtype is torch.float64 else DType.F32
    return {f"{name}.weight": apply(ops.dequantize, layer.weight, dtype=wide) for name, layer in layers.items()}


def fitted(
    model: Any, layers: Mapping[str, QuantizedLayer], weights: Mapping[str, WeightExpression]
) -> tuple[dict[str, WeightExpression], dict[str, Rounding]]:
    """The weights by the model's names as the model has them, and how inputs are rounded, by the name of the weight.

    A layer that transformers stores by columns (Conv1D) gets its weight so. A bias of zeros that the model lacks is
    left out: AutoGPTQ gave every layer one. Raises `UnsupportedError` where inputs are rounded of a layer that becomes
    a part of another weight, as experts do.
    """
    known: Collection[str] = model.state_dict().keys()
    by_columns = [f"{name}.weight" for name, module in model.named_modules() if type(module).__name__ == "Conv1D"]
    quantized: dict[WeightExpression | None, str] = {layer.weight: name for name, layer in layers.items()}
    found: dict[str, str] = {}
    fitting: dict[str, WeightExpression] = {}
    for name, weight in weights.items():
        owner, _, last = origin(weight).key.rpartition(".")
        if name not in known and last == "bias" and owner in layers and not weight.evaluate().any():
            continue
        fitting[name] = weight
        if isinstance(weight, Applied) and weight.definition is ops.dequantize:
            found[quantized[weight.operands[0]]] = name
            if name in by_columns:
                fitting[name] = transposed(weight)
    roundings: dict[str, Rounding] = {}
    for layer, each in layers.items():
        if each.rounding is not None:
            if layer not in found:
                raise UnsupportedError(
                    f"{origin(each.weight).path}: layer '{layer}' rounds its inputs, and is part of another weight of "
                    f"{type(model).__name__}: that is not read"
                )
            roundings[found[layer]] = each.rounding
    return fitting, roundings
