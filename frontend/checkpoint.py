"""Capture of a Hugging Face checkpoint directory. No code in it is run, and weights are read only where it is in doubt
what they are: names that are tied, biases without a place, zero points of layers that are said to be symmetric.

A checkpoint that is quantized is captured as the model of floats that it stands for, in float32 unless told otherwise:
there a code times its scale is exact, in half precision it is not. `restore-quantized` makes of it what is stored.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from graphwright.frontend import hugging_face, hugging_face_inputs
from graphwright.frontend.adapters import CONFIG, Adapter, adapted_vocabulary, merge_adapter, merge_stored, read_adapter
from graphwright.frontend.build import build_program
from graphwright.frontend.empty_model import empty_model
from graphwright.frontend.errors import CheckpointError
from graphwright.frontend.hugging_face_weights import origin, rename_weights
from graphwright.frontend.inputs import Examples, dynamic_axes, example_tokens, named_examples
from graphwright.frontend.loose_tensors import computed, leave_out, without_wrappers
from graphwright.frontend.module import facts_of
from graphwright.frontend.quantized import (
    SETTING,
    QuantizedLayer,
    dequantized,
    fitted,
    quantization_settings,
    read_quantized,
    round_inputs,
)
from graphwright.frontend.remote_code import check_remote_code, notify_of_later_modules
from graphwright.frontend.skeleton import placeholder
from graphwright.frontend.weight_files import read_json, stored_weights
from graphwright.ir import Program, StoredFile, TensorType, UnsupportedError, WeightError, notify
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.weights import WeightExpression, sources


def capture_checkpoint(
    directory: Path,
    examples: Examples | None,
    dtype: torch.dtype | None,
    logits: str | None = None,
    *,
    ignore_remote_code: bool = False,
    function: bool = False,
    adapter_folder: Path | None = None,
) -> Program:
    """See `capture`."""
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: not a directory")
    adapter = _adapter(directory, adapter_folder)
    settings = read_json(directory / "config.json")
    quantization = settings.pop(SETTING, None)
    config = hugging_face.read_config(directory, settings)
    build = hugging_face_inputs.model_class(config, settings, directory)
    check_remote_code(config, settings, directory, build, ignore_remote_code)
    notify_of_later_modules(directory)
    layers: dict[str, QuantizedLayer] = {}
    stored: dict[str, WeightExpression] = {}
    tensors = without_wrappers(stored_weights(directory, settings))
    described = quantization_settings(directory, quantization, tensors)
    if described is not None:
        if adapter is not None:
            raise UnsupportedError(
                f"{described[0]}: the checkpoint is quantized, and the adapter in {adapter.folder} is merged into "
                "floats: give the checkpoint of floats that it was quantized from"
            )
        layers, tensors = read_quantized(*described, tensors)
        dtype = dtype or torch.float32
        stored = dequantized(layers, dtype)
    stored |= tensors
    model = empty_model(build, config, directory, dtype or _own_dtype(config, tensors))
    if adapter is None:
        renamed, roundings = fitted(model, layers, rename_weights(model, stored))
    else:
        model, renamed = adapted(adapter, model, stored, directory)
        roundings = {}
    weights = bind(model, renamed, directory)
    program = _traced(model, weights, examples, directory, logits, function)
    round_inputs(program, roundings)
    return program


def checkpoint_context(directory: Path) -> int | None:
    """The longest context that the configuration in a checkpoint's directory names, in tokens; nothing is captured.

    Raises `CheckpointError` and `UnsupportedError` as `capture` does for the configuration.
    """
    settings = read_json(directory / "config.json")
    settings.pop(SETTING, None)
    return hugging_face.context_length(hugging_face.read_config(directory, settings))


def _traced(
    model: Any,
    weights: Mapping[str, WeightExpression],
    examples: Examples | None,
    directory: Path,
    logits: str | None,
    function: bool,
) -> Program:
    file = directory / "generation_config.json"
    generation = read_json(file) if file.is_file() else {}
    if examples is None and hugging_face_inputs.is_causal(model):
        facts = hugging_face.metadata(model, generation)
        call = hugging_face.calling_convention(model)
        return build_program(
            type(model).__name__, model, call, example_tokens(), weights, facts, logits, function=function
        )
    given = hugging_face_inputs.example_inputs(model, directory) if examples is None else examples
    named = named_examples(model, given)
    call = hugging_face.call_with(model, list(named))
    facts = hugging_face.metadata(model, generation) if hugging_face.reads_context(model) else facts_of(model)
    inputs = dynamic_axes(named)
    return build_program(type(model).__name__, model, call, inputs, weights, facts, logits, function=function)


def adapted(
    adapter: Adapter, model: Any, stored: Mapping[str, WeightExpression], directory: Path
) -> tuple[Any, dict[str, WeightExpression]]:
    """The model, with as many tokens as the adapter has, and its weights as the adapter makes them of those stored."""
    rows = adapted_vocabulary(adapter, model)
    if rows is not None:
        model.config.get_text_config().vocab_size = rows
        model = empty_model(type(model), model.config, directory, model.dtype)
    left, merged = merge_stored(adapter, model, stored)
    renamed = rename_weights(model, merged)
    tied = [each for names in _names(model) for each in _split_untied(names, renamed)]
    return model, merge_adapter(left, model, renamed, tied)


def _adapter(directory: Path, given: Path | None) -> Adapter | None:
    """The adapter to merge: the one that was given, or one in the checkpoint's directory, as transformers does."""
    beside = (directory / CONFIG).is_file()
    if given is not None and beside and given.resolve() != directory.resolve():
        raise CheckpointError(
            f"{directory}: there is an adapter in the checkpoint's directory, which belongs to it; to have "
            f"{given} alone, move {CONFIG} away"
        )
    if given is None and not beside:
        return None
    if given is None:
        notify(f"{directory / CONFIG}: the adapter beside the model is merged into its weights")
    return read_adapter(given or directory)


def _own_dtype(config: Any, stored: Mapping[str, StoredFile]) -> torch.dtype:
    """The element type that the configuration names, or else that of the first float tensor in the files."""
    if isinstance(config.dtype, torch.dtype):
        return config.dtype
    return next((torch_dtype(w.type.dtype) for w in stored.values() if w.type.dtype.is_float), torch.float32)


def bind(model: Any, stored: Mapping[str, WeightExpression], directory: Path) -> dict[str, WeightExpression]:
    """Gives every parameter and stored buffer its tensor in the files, and every parameter a placeholder.

    Names that the model ties are one weight, unless the files hold unequal tensors for them.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    buffers = {name: tensor for name, tensor in model.state_dict().items() if name not in parameters}
    weights: dict[str, WeightExpression] = {}
    plan = hugging_face.float32_weights(model, parameters)
    for names in _names(model):
        for tied in _split_untied(names, stored):
            source = next((stored[name] for name in tied if name in stored), None)
            tensor = parameters.get(tied[0], buffers.get(tied[0]))
            assert tensor is not None
            source = computed(model, tied, tensor) if source is None else source
            if source is None:
                raise WeightError(
                    f"{directory}: weight '{tied[0]}' of {type(model).__name__} is missing from the files"
                )
            place = _place(directory, tied[0], source)
            if tuple(tensor.shape) != tuple(d.constant for d in source.type.shape):
                raise WeightError(f"{place} is {source.type}, config.json asks for {list(tensor.shape)}")
            if not isinstance(source.type, TensorType) or source.type.dtype.is_float != tensor.is_floating_point():
                raise WeightError(f"{place} is {source.type}, {type(model).__name__} has {tensor.dtype}")
            weights[tied[0]] = source
            if tied[0] in parameters:
                _replace(model, tied, placeholder(tensor, torch.float32 if tied[0] in plan else tensor.dtype))
    known = {*parameters, *buffers}
    leave_out(model, {name: origin(w) for name, w in stored.items() if name not in known})
    return weights


def _names(model: Any) -> list[list[str]]:
    """The names of each parameter and stored buffer."""
    known = model.state_dict()
    groups: dict[int, list[str]] = {}
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in named:
        if name in known:
            groups.setdefault(id(tensor), []).append(name)
    return list(groups.values())


def _place(directory: Path, name: str, source: WeightExpression) -> str:
    """Where a weight comes from, for errors."""
    file = next((s for s in sources(source) if isinstance(s, StoredFile)), None)
    if file is None:
        return f"{directory}: weight '{name}'"
    return f"{file.path}: " + (
        f"tensor '{file.key}'" if source is file else f"weight '{name}' of '{file.key}' and others"
    )


def _split_untied(names: list[str], stored: Mapping[str, WeightExpression]) -> Iterable[list[str]]:
    """The names in groups of one weight each: a name that the files give another value stands alone."""
    first = next((name for name in names if name in stored), None)
    if first is None:
        return [names]
    apart = [name for name in names if name in stored and name != first and not _equal(stored[first], stored[name])]
    return [[name for name in names if name not in apart], *([name] for name in apart)]


def _equal(a: WeightExpression, b: WeightExpression) -> bool:
    return a.type == b.type and torch.equal(a.evaluate(), b.evaluate())


def _replace(model: torch.nn.Module, names: Iterable[str], parameter: torch.nn.Parameter) -> None:
    for name in names:
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, parameter)
