"""An adapter merged into the weights of a model, lazily: each changed weight becomes an expression over both files."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import torch

from graphwright.frontend.adapters.files import Adapter, LowRank, Tensor
from graphwright.frontend.adapters.low_rank import (
    added,
    permuted,
    product,
    reshaped,
    scaled,
    wide,
    with_magnitudes,
    with_rows,
)
from graphwright.frontend.adapters.parameters import merge_parameters
from graphwright.frontend.adapters.places import CONVOLUTIONS, Places, Values
from graphwright.frontend.adapters.targets import check_targets
from graphwright.frontend.dimensions import element_type
from graphwright.ir import TensorType, UnsupportedError, WeightError
from graphwright.ir.errors import IRTypeError
from graphwright.ir.weights import WeightExpression


def merge_stored(
    adapter: Adapter, model: Any, stored: Mapping[str, WeightExpression]
) -> tuple[Adapter, dict[str, WeightExpression]]:
    """The stored tensors with what the adapter changes of those that are only a part of one of the model's weights.

    An expert's projection, say, is a layer of its own in the files, and was one when the adapter was trained. Also
    returns what is left of the adapter.
    """
    places = Places(model)
    tensors = dict(stored)
    left = dict(adapter.low_rank)
    for path, each in adapter.low_rank.items():
        key = f"{path}.weight"
        if places.name(key) is not None or key not in stored:
            continue
        if each.is_embedding or each.get("magnitude") or each.get("bias"):
            raise UnsupportedError(f"{adapter.file}: '{path}' is a part of a weight, where only plain LoRA is merged")
        dtype = element_type(torch.empty(0, dtype=model.dtype))
        change = product(each["A"], each["B"], _scaling(adapter, each), wide(dtype))
        if adapter.settings.fan_in_fan_out:
            change = permuted(change, 1, 0)
        if change.type.shape != stored[key].type.shape:
            raise _misfit(adapter, each, key, stored[key])
        tensors[key] = added(stored[key], change, dtype)
        del left[path]
    rest = Adapter(adapter.folder, adapter.file, adapter.settings, left, adapter.replaced, adapter.tokens)
    return rest, tensors


def merge_adapter(
    adapter: Adapter, model: Any, weights: Mapping[str, WeightExpression], tied: Iterable[Sequence[str]]
) -> dict[str, WeightExpression]:
    """The weights by the model's names, merged. `tied` are the names of each weight that has several.

    A tied weight that is changed under one of its names is that weight no longer, unless the settings tie the adapter
    too. Raises `WeightError` for tensors that match nothing or do not fit, `UnsupportedError` for what is not merged.
    """
    places, values = Places(model), Values(weights, tied)
    merged: set[str] = set()
    merged |= _replace(adapter, places, values)
    own = {places.name(f"{path}.weight") for path in adapter.low_rank}
    parameters = merge_parameters(adapter, places, values)
    merged |= set(parameters.values())
    for path, each in adapter.low_rank.items():
        if path not in parameters:
            merged.add(_merge(adapter, each, places, values, own))
    merged |= _replace_rows(adapter, places, values)
    check_targets(adapter, places, values, merged)
    return values.stored


def _replace(adapter: Adapter, places: Places, values: Values) -> set[str]:
    """Weights in place of the base's: copies that were trained (`modules_to_save`), biases, resized embeddings."""
    found: dict[str, tuple[str, Tensor]] = {}
    for key, tensor in adapter.replaced.items():
        name = places.name(key)
        if name is None:
            raise _stranger(adapter, places, key)
        if tuple(d.constant for d in tensor.type.shape) != places.lengths(name):
            shape = list(places.lengths(name))
            raise WeightError(f"{adapter.file}: tensor '{key}' is {tensor.type}, the base has {shape}")
        found[name] = key, tensor
    for name, (key, tensor) in found.items():
        copied = adapter.settings.is_saved(key) and not adapter.settings.ensure_weight_tying
        if not copied:
            for other in values.siblings(name):
                if other in found and not torch.equal(tensor.evaluate(), found[other][1].evaluate()):
                    raise WeightError(
                        f"{adapter.file}: '{name}' and '{other}' are one weight in the base, but differ here"
                    )
        values.change(name, tensor, alone=copied, except_for=found)
    return set(found)


def _merge(adapter: Adapter, each: LowRank, places: Places, values: Values, own: Collection[str | None]) -> str:
    """Adds a product of two matrices to the weight of a layer, and returns its name; `own` are those that have one."""
    name = places.name(f"{each.path}.weight")
    if name is None:
        raise _stranger(adapter, places, each.path)
    module, weight = places.module(name), values.get(name)
    if weight is None:
        raise WeightError(f"{adapter.file}: '{each.path}' changes '{name}', which is missing from the base's files")
    dtype, lengths, scaling = places.dtype(name), places.lengths(name), _scaling(adapter, each)
    by_columns = _is_by_columns(adapter, each, module)
    order = (1, 0) if by_columns else (0, 1)
    rows = lengths[order[0]]
    try:
        a = _as_matrix(each["A"], 0) if isinstance(module, CONVOLUTIONS) else each["A"]
        b = _as_matrix(each["B"], 0) if isinstance(module, CONVOLUTIONS) else each["B"]
        change = product(a, b, scaling, wide(dtype))
        matrix = permuted(weight, 1, 0) if by_columns else _as_matrix(weight, 0)
        _require_fit(change, matrix)
        magnitude = each.get("magnitude")
        if magnitude is not None:
            changed = with_magnitudes(matrix, change, reshaped(magnitude, rows), rows, dtype)
        else:
            changed = added(matrix, change, dtype)
    except IRTypeError:
        raise _misfit(adapter, each, name, weight) from None
    changed = permuted(changed, 1, 0) if by_columns else reshaped(changed, *lengths)
    tie = adapter.settings.ensure_weight_tying
    values.change(name, changed, alone=not tie, except_for=own)
    if (bias := each.get("bias")) is not None:
        _add_bias(adapter, f"{name.removesuffix('weight')}bias", scaled(bias, scaling, wide(dtype)), places, values)
    return name


def _require_fit(change: WeightExpression, matrix: WeightExpression) -> None:
    assert isinstance(change.type, TensorType)
    assert isinstance(matrix.type, TensorType)
    if change.type.shape != matrix.type.shape:
        raise IRTypeError(f"{change.type} is added to {matrix.type}")


def _as_matrix(x: WeightExpression, axis: int) -> WeightExpression:
    """A kernel [out, in, ...] as a matrix [out, in * ...]; a matrix as it is."""
    assert isinstance(x.type, TensorType)
    if x.type.rank == 2:
        return x
    first = x.type.shape[axis].evaluate({})
    return reshaped(x, first, x.type.elements.evaluate({}) // first)


def _is_by_columns(adapter: Adapter, each: LowRank, module: torch.nn.Module) -> bool:
    """Whether a layer's weight is [in, out]. Raises `UnsupportedError` for a layer whose weight is not merged."""
    embedding = isinstance(module, torch.nn.Embedding)
    if embedding is not each.is_embedding:
        raise WeightError(
            f"{adapter.file}: '{each.path}' is a {type(module).__name__}, the tensors are of another layer"
        )
    if embedding or type(module).__name__ == "Conv1D":
        return True
    if isinstance(module, torch.nn.Linear):
        return False
    kernel = each["B"].type.shape[2:]
    if isinstance(module, CONVOLUTIONS) and module.groups == 1 and all(d.constant == 1 for d in kernel):
        return False
    raise UnsupportedError(f"{adapter.file}: '{each.path}' is a {type(module).__name__}, where LoRA is not merged")


def _add_bias(adapter: Adapter, name: str, change: WeightExpression, places: Places, values: Values) -> None:
    bias = values.get(name)
    if name not in places.weights or bias is None:
        raise WeightError(f"{adapter.file}: '{name}' is to be changed ('lora_bias'), and the base has none")
    if bias.type.shape != change.type.shape:
        raise WeightError(f"{adapter.file}: the bias of lora_B is {change.type}, '{name}' of the base {bias.type}")
    values.change(name, added(bias, change, places.dtype(name)), alone=True)


def _replace_rows(adapter: Adapter, places: Places, values: Values) -> set[str]:
    """The rows of tokens that were trained alone, in all names of their embedding that have no rows of their own."""
    indices = adapter.settings.trainable_token_indices
    if bool(indices) is not bool(adapter.tokens):
        what = "names tokens, but there are no rows" if indices else "names no tokens, but there are rows"
        raise WeightError(f"{adapter.file}: 'trainable_token_indices' {what}")
    names: dict[str, tuple[str, Tensor]] = {}
    for path, rows in adapter.tokens.items():
        name = places.name(f"{path}.weight")
        if name is None:
            raise _stranger(adapter, places, path)
        names[name] = path, rows
    for name, (path, rows) in names.items():
        listed = _indices(adapter, path)
        height, *width = places.lengths(name)
        weight = values.get(name)
        if weight is None or tuple(d.constant for d in rows.type.shape) != (len(listed), *width):
            raise WeightError(f"{adapter.file}: '{path}' has rows {rows.type} for {len(listed)} tokens of the base")
        if len({*listed}) != len(listed) or not all(0 <= i < height for i in listed):
            raise WeightError(f"{adapter.file}: the tokens {listed[:8]} of '{path}' must differ and be below {height}")
        values.change(name, with_rows(weight, rows, listed, height), alone=False, except_for=names)
    return set(names)


def _indices(adapter: Adapter, path: str) -> list[int]:
    indices = adapter.settings.trainable_token_indices
    if isinstance(indices, list):
        return indices
    found = [listed for module, listed in (indices or {}).items() if path.endswith(module)]
    if len(found) != 1:
        raise WeightError(f"{adapter.file}: 'trainable_token_indices' does not name the tokens of '{path}'")
    return found[0]


def _scaling(adapter: Adapter, each: LowRank) -> float:
    """The factor of a place. Raises `WeightError` where its tensors are of another rank than the settings say."""
    rank = adapter.settings.rank(each.path)
    found = each["A"].type.shape[0].constant, each["B"].type.shape[1].constant
    if found != (rank, rank):
        a, b = each["A"].type, each["B"].type
        raise WeightError(f"{adapter.file}: '{each.path}' has lora_A {a} and lora_B {b}, its rank is {rank}")
    return adapter.settings.scaling(each.path)


def _misfit(adapter: Adapter, each: LowRank, name: str, weight: WeightExpression) -> WeightError:
    listed = ", ".join(f"{part} {tensor.type}" for part, tensor in sorted(each.parts.items()))
    return WeightError(f"{adapter.file}: '{each.path}' has {listed}, which do not fit '{name}', {weight.type}")


def _stranger(adapter: Adapter, places: Places, key: str) -> WeightError:
    task = adapter.settings.task_type
    kind = f" (the adapter is of the task {task[:40]})" if task else ""
    return WeightError(f"{adapter.file}: '{key}' has no place in {type(places.model).__name__}{kind}")
