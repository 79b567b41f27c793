"""What a module returns, as named tensors: any nest of tuples, lists, dictionaries, dataclasses, numbers and None."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from graphwright.ir import UnsupportedError
from graphwright.ir.convention import LOGITS

OUTPUT = "output"
"""The name of what has no name of its own."""


@dataclass
class Outputs:
    """The tensors that a module returned, by name, and the types of what is not a tensor (a cache object, a text).

    `led_by_logits` says that it is an object with the attribute `logits`, which a plain function gives alone.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])
    others: dict[str, str] = field(default_factory=dict[str, str])
    led_by_logits: bool = False


def flatten_outputs(output: Any) -> Outputs:
    """The outputs by their paths: `output`, `output.0`, `output.1.loss` of tuples, `logits`, `states.0` where named.

    None is left out, and numbers are tensors without axes. Raises `UnsupportedError` for two of one name.
    """
    found = Outputs(led_by_logits=isinstance(getattr(output, LOGITS, None), torch.Tensor))
    nameless = isinstance(output, tuple | list) and not hasattr(cast("Any", output), "_fields")
    for name, leaf in _leaves(OUTPUT if nameless else "", output):
        name = name or OUTPUT
        if name in found.tensors or name in found.others:
            raise UnsupportedError(f"two outputs are named '{name}'; give each a name of its own")
        if isinstance(leaf, torch.Tensor):
            found.tensors[name] = leaf
        elif isinstance(leaf, bool | int | float | torch.SymInt):
            found.tensors[name] = _number(leaf)
        elif leaf is not None:
            found.others[name] = type(leaf).__name__
    if not found.tensors:
        for name, kind in found.others.items():
            raise not_a_tensor(name, kind)
        raise UnsupportedError("the module returns nothing; a captured module returns tensors")
    return found


def not_a_tensor(name: str, kind: str) -> UnsupportedError:
    return UnsupportedError(f"output '{name}' is a {kind}; a captured module returns tensors: leave it out")


def _number(value: bool | int | float | torch.SymInt) -> torch.Tensor:
    dtype = torch.bool if isinstance(value, bool) else torch.int64
    dtype = torch.get_default_dtype() if isinstance(value, float) else dtype
    return torch.full((), cast("int", value), dtype=dtype)


def _leaves(path: str, item: Any) -> Iterator[tuple[str, Any]]:
    fields = _fields(item)
    if fields is None:
        yield path, item
        return
    for name, value in fields.items():
        inner = f"{path}.{name}" if path else name
        yield from _leaves(inner, value)


def _fields(item: Any) -> dict[str, Any] | None:
    """The parts of an output by name; None if it has none."""
    if isinstance(item, torch.Tensor | str | bytes | None):
        return None
    if isinstance(item, Mapping):
        return {str(key): value for key, value in cast("Mapping[Any, Any]", item).items()}
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {f.name: getattr(item, f.name, None) for f in dataclasses.fields(item)}
    names: Any = getattr(item, "_fields", None)
    if isinstance(item, tuple) and isinstance(names, tuple):  # a named tuple
        return dict(zip(map(str, cast("tuple[Any, ...]", names)), cast("tuple[Any, ...]", item), strict=True))
    if isinstance(item, tuple | list):
        return {str(i): value for i, value in enumerate(cast("Sequence[Any]", item))}
    logits: Any = getattr(item, LOGITS, None)
    if isinstance(logits, torch.Tensor):  # an object of the author's own
        return (
            {str(name): value for name, value in vars(item).items()} if hasattr(item, "__dict__") else {LOGITS: logits}
        )
    return None
