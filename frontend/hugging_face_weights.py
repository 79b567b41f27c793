"""From the tensors in a checkpoint's files to the weights of a transformers model: other names, merged and cut tensors.

The library describes what it does on loading as lists of renamings and of converters, which collect tensors and put
them through a chain of operations. The same is done here with lazy weights, so that nothing is read.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from graphwright.ir import Dim, StoredFile, UnsupportedError, WeightError, ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.declare import OpDef
from graphwright.ir.errors import IRTypeError
from graphwright.ir.types import TensorType
from graphwright.ir.weights import Applied, WeightExpression, sources

Collected = dict[str, list[WeightExpression]]
"""What is on its way through a chain of operations: tensors by the pattern that found them, in the end by target."""


def rename_weights(model: Any, stored: Mapping[str, WeightExpression]) -> dict[str, WeightExpression]:
    """The stored tensors by the names of the model's weights that they are, or are parts of."""
    loading: Any = import_module("transformers.core_model_loading")
    mapping: Any = import_module("transformers.conversion_mapping").get_model_conversion_mapping(model)
    renamings = [entry for entry in mapping if isinstance(entry, loading.WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, loading.WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    expected = model.state_dict()
    weights: dict[str, WeightExpression] = {}
    collected: dict[str, tuple[Any, Collected]] = {}
    # Tensors are merged in the order of the numbers in their names.
    for key, weight in sorted(stored.items(), key=lambda item: loading.dot_natural_key(item[0])):
        name, pattern = loading.rename_source_key(key, renamings, converters, model.base_model_prefix, expected)
        if name not in expected and key in expected:
            name, pattern = key, None
        if pattern is None or name not in expected:
            weights[name if pattern is None else key] = weight
            continue
        converter = by_pattern[pattern]
        known, parts = collected.setdefault(name, (converter, {}))
        if known is not converter:
            raise UnsupportedError(f"{origin(weight).path}: tensor '{key}' is converted in two ways to '{name}'")
        parts.setdefault(pattern, []).append(weight)
    for name, (converter, parts) in collected.items():
        weights.update(_converted(name, converter, parts, loading))
    return weights


def origin(expression: WeightExpression) -> StoredFile:
    """The first tensor in a file that a weight is made of."""
    return next(s for s in sources(expression) if isinstance(s, StoredFile))


def _converted(
    name: str, converter: Any, parts: Mapping[str, Sequence[WeightExpression]], loading: Any
) -> dict[str, WeightExpression]:
    """The weights that a converter makes, by their names; `name` is that of the first."""
    first = origin(next(iter(parts.values()))[0])
    place = f"{first.path}: tensor '{first.key}'"
    targets: list[str] = converter.target_patterns
    for pattern in converter.source_patterns:
        if pattern not in parts:
            raise WeightError(f"{place} is merged into '{name}' with tensors '*{pattern}', of which there is none")
    current: Collected = {pattern: list(parts[pattern]) for pattern in converter.source_patterns}
    for operation in converter.operations:
        try:
            step = _STEPS.get(type(operation).__name__)
            if step is None or type(operation) is not getattr(loading, type(operation).__name__, None):
                raise UnsupportedError(
                    f"{place} is stored in a layout that transformers would convert by {type(operation).__name__}"
                )
            current = step(operation, current, targets)
        except (IRTypeError, _Misfit) as problem:
            raise WeightError(f"{place} and others do not make '{name}': {problem}") from None
    if set(current) != set(targets) or targets[0] not in name or any(len(v) != 1 for v in current.values()):
        raise UnsupportedError(f"{place} is stored in a layout that transformers would convert to '{name}'")
    before, _, after = name.partition(targets[0])
    return {before + target + after: value for target, (value,) in current.items()}


class _Misfit(Exception):
    """Tensors that an operation cannot take."""


def _merge(operation: Any, current: Collected, targets: Sequence[str]) -> Collected:
    """MergeModulelist: the tensors of each pattern are stacked along a new axis."""
    merged: Collected = {}
    for pattern, tensors in current.items():
        _require_consecutive(tensors)
        rows: list[WeightExpression] = []
        for tensor in tensors:
            shape = _shape(tensor)
            rows.append(
                _apply(ops.reshape, tensor, shape=(*shape[: operation.dim], Dim.of(1), *shape[operation.dim :]))
            )
        target = targets[0] if len(current) == 1 and len(targets) == 1 else pattern
        merged[target] = [_apply(ops.concat, *rows, axis=operation.dim)]
    return merged


def _require_consecutive(tensors: Sequence[WeightExpression]) -> None:
    """The tensors must be those of experts 0, 1, 2, …: past a hole the others would have wrong numbers."""
    names = [origin(tensor).key.split(".") for tensor in tensors]
    places = [i for i, parts in enumerate(zip(*names, strict=False)) if parts == tuple(map(str, range(len(names))))]
    for place in places:
        if all(name[:place] + name[place + 1 :] == names[0][:place] + names[0][place + 1 :] for name in names):
            return
    raise _Misfit(f"{len(names)} tensors are not numbered from 0 on")


def _concatenate(operation: Any, current: Collected, targets: Sequence[str]) -> Collected:
    """Concatenate: everything becomes one tensor, in the order of the patterns."""
    if len(targets) != 1:
        raise _Misfit("it has several targets")
    return {targets[0]: [_apply(ops.concat, *(t for tensors in current.values() for t in tensors), axis=operation.dim)]}


def _chunk(operation: Any, current: Collected, targets: Sequence[str]) -> Collected:
    """Chunk: one tensor is cut into equal parts, one for each target."""
    whole = _single(current)
    if operation.num_shards_attribute is not None:
        raise _Misfit("the number of parts is a setting")
    axis: int = operation.dim
    part = _shape(whole)[axis].exact_div(len(targets))
    if part is None:
        raise _Misfit(f"{whole.type} does not divide into {len(targets)} parts")
    return {
        target: [_apply(ops.slice, whole, axis=axis, start=part * i, stop=part * (i + 1))]
        for i, target in enumerate(targets)
    }


def _transpose(operation: Any, current: Collected, targets: Sequence[str]) -> Collected:
    """Transpose: two axes of one tensor change places."""
    whole = _single(current)
    if operation.check_dims or len(targets) != 1:
        raise _Misfit("whether to transpose depends on the shape")
    order = list(range(len(_shape(whole))))
    a, b = operation.dim0, operation.dim1
    order[a], order[b] = order[b], order[a]
    return {targets[0]: [_apply(ops.transpose, whole, permutation=tuple(order))]}


_STEPS = {"MergeModulelist": _merge, "Concatenate": _concatenate, "Chunk": _chunk, "Transpose": _transpose}


def _single(current: Collected) -> WeightExpression:
    tensors = [t for listed in current.values() for t in listed]
    if len(tensors) != 1:
        raise _Misfit(f"{len(tensors)} tensors stand where one is expected")
    return tensors[0]


def _shape(expression: WeightExpression) -> tuple[Dim, ...]:
    assert isinstance(expression.type, TensorType)
    return expression.type.shape


def _apply(definition: OpDef, *operands: WeightExpression, **attributes: Attribute) -> WeightExpression:
    return Applied.of(definition, operands, attributes)
