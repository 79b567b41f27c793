"""A quantized checkpoint's tensors as weights: those of quantized layers put together, the others as they are."""

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
from graphwright.frontend.weight_files import read_json
from graphwright.ir import StoredFile, UnsupportedError, WeightError
from graphwright.runtime.validation import first_finding

METHODS: dict[str, type[Format]] = {
    "gptq": GPTQ,
    "awq": AWQ,
    "compressed-tensors": CompressedTensors,
    "fp8": BlockFP8,
}

CONFIG = "config.json"
SETTING = "quantization_config"
"""The setting that says how a checkpoint is quantized."""

BESIDE = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
"""Where AutoGPTQ and AutoAWQ wrote it before there was that setting, and the method meant where none is named."""


def quantization_settings(directory: Path, inside: Any, stored: Mapping[str, StoredFile]) -> tuple[Path, Any] | None:
    """The file that says how the checkpoint is quantized and what it says, or None where it is not.

    `inside` is what config.json says, if anything. A file beside it counts where there are tensors of such layers.
    Raises `CheckpointError` where two files contradict each other.
    """
    found = None if inside is None else (directory / CONFIG, inside)
    for name, method in BESIDE.items():
        file = directory / name
        if not file.is_file():
            continue
        said = {"quant_method": method, **read_json(file)}
        known = METHODS.get(str(said["quant_method"]))
        markers = (GPTQ.markers | AWQ.markers) if known is None else known.markers
        if found is None:
            if any(key.rpartition(".")[2] in markers for key in stored):
                found = (file, said)
        else:
            _require_agreement(*found, file, said)
    return found


def _require_agreement(file: Path, settings: Any, other_file: Path, others: Any) -> None:
    first, second = _format(file, settings), _format(other_file, others)
    names = first.model_fields_set & second.model_fields_set
    apart = sorted(name for name in names if getattr(first, name) != getattr(second, name))
    if type(first) is not type(second) or apart:
        what = apart[0] if apart else "quant_method"
        raise CheckpointError(f"{other_file}: it contradicts {file} in '{what}'; delete the one that is wrong")


def read_quantized(
    file: Path, settings: Any, stored: Mapping[str, StoredFile]
) -> tuple[dict[str, QuantizedLayer], dict[str, StoredFile]]:
    """The quantized layers by their names, and the tensors that belong to none.

    `settings` are those in `file`. Which layers are quantized is what the tensors say, whatever lists of
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
        raise CheckpointError(f"{file}: '{SETTING}' is not a table of settings")
    method = cast("dict[str, Any]", settings).get("quant_method")
    if not isinstance(method, str) or method not in METHODS:
        raise UnsupportedError(
            f"{file}: the checkpoint is quantized by the method {method!r}, which is not read "
            f"(read are {', '.join(METHODS)}); capture the unquantized one and quantize it here"
        )
    try:
        return METHODS[method].model_validate(settings)
    except ValidationError as problem:
        raise CheckpointError(f"{file}: {SETTING}: {first_finding(problem, METHODS[method])}") from None
