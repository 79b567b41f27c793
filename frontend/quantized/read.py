"""A quantized checkpoint's tensors as weights: those of quantized layers put together, the others as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from graphwright.frontend.errors import CheckpointError
from graphwright.frontend.quantized.awq import AWQ
from graphwright.frontend.quantized.block_fp8 import BlockFP8
from graphwright.frontend.quantized.compressed_tensors import CompressedTensors
from graphwright.frontend.quantized.gptq import GPTQ
from graphwright.frontend.quantized.layer import Format, LayerTensors, QuantizedLayer
from graphwright.ir import StoredFile, UnsupportedError, WeightError

METHODS: dict[str, type[Format]] = {
    "gptq": GPTQ,
    "awq": AWQ,
    "compressed-tensors": CompressedTensors,
    "fp8": BlockFP8,
}


def read_quantized(
    file: Path, settings: Any, stored: Mapping[str, StoredFile]
) -> tuple[dict[str, QuantizedLayer], dict[str, StoredFile]]:
    """The quantized layers by their names, and the tensors that belong to none.

    `settings` is `quantization_config` in `file`. Which layers are quantized is what the tensors say, whatever lists of
    exceptions there are. Raises `CheckpointError` for settings that are none, `UnsupportedError` for what is not read,
    and `WeightError` for tensors that do not fit.
    """
    format = _format(file, settings)
    problem = format.refusal()
    if problem is not None:
        raise UnsupportedError(f"{file}: the checkpoint is quantized: {problem} is not read")
    parts: dict[str, dict[str, StoredFile]] = {}
    for key, tensor in stored.items():
        layer, _, part = key.rpartition(".")
        if part in format.markers:
            parts.setdefault(layer, {})[part] = tensor
    rest: dict[str, StoredFile] = {}
    for key, tensor in stored.items():
        layer, _, part = key.rpartition(".")
        if layer in parts and part in format.parts:
            parts[layer][part] = tensor
        elif part not in format.markers:
            rest[key] = tensor
    for key, tensor in rest.items():
        if key.removesuffix(".weight") in parts:
            raise WeightError(f"{tensor.path}: tensor '{key}' is there beside the same layer's quantized tensors")
        if tensor.type.dtype.is_float and tensor.type.dtype.bits <= 8:
            raise WeightError(f"{tensor.path}: tensor '{key}' is {tensor.type}, and there are no scales for it")
    return {name: format.layer(LayerTensors(name, found)) for name, found in parts.items()}, rest


def _format(file: Path, settings: Any) -> Format:
    if not isinstance(settings, dict):
        raise CheckpointError(f"{file}: 'quantization_config' is not a table of settings")
    method = cast("dict[str, Any]", settings).get("quant_method")
    if not isinstance(method, str) or method not in METHODS:
        raise UnsupportedError(
            f"{file}: the checkpoint is quantized by the method {method!r}, which is not read "
            f"(read are {', '.join(METHODS)}); capture the unquantized one and quantize it here"
        )
    try:
        return METHODS[method].model_validate(settings)
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise CheckpointError(f"{file}: quantization_config: '{place}': {first['msg']}") from None
