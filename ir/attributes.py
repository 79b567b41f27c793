"""Attributes: the compile-time arguments of ops, and the kinds that a declaration's annotations may name."""

import math
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

from graphwright.ir.dims import Dim
from graphwright.ir.types import DType

Scalar = bool | int | float
Attribute = Union[None, bool, int, float, str, Dim, DType, "tuple[Attribute, ...]"]


@cache
def _parts(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """What an annotation is of, and its arguments: to ask takes longer than all else that is done to an attribute."""
    return get_origin(annotation), get_args(annotation)


def normalize(value: Any, annotation: Any) -> Attribute:
    """`value` as the attribute kind that `annotation` names; raises `TypeError` with the kind's name otherwise."""
    origin, options = _parts(annotation)
    if origin is tuple:
        if not isinstance(value, (tuple, list)):
            raise TypeError("a list")
        return tuple(normalize(item, options[0]) for item in cast("tuple[Any, ...]", value))
    if origin is Literal:
        if value not in options:
            raise TypeError("one of " + ", ".join(map(repr, options)))
        return value
    if options:
        for option in options:
            if type(value) is option or (value is None and option is type(None)):
                return value
        for option in options:
            if option is not type(None):
                try:
                    return normalize(value, option)
                except TypeError:
                    continue
        raise TypeError(" or ".join("none" if o is type(None) else o.__name__ for o in options))
    if annotation is Dim and isinstance(value, (Dim, int)) and not isinstance(value, bool):
        return Dim.of(value)
    if annotation is int and isinstance(value, Dim) and value.constant is not None:
        return value.constant
    if annotation is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, annotation) and not (annotation is int and isinstance(value, bool)):
        return value
    raise TypeError(getattr(annotation, "__name__", str(annotation)))


def is_of(annotation: Any, kinds: tuple[Any, ...]) -> bool:
    """Whether every value of the kind that `annotation` names is of one of these kinds."""
    if annotation in kinds:
        return True
    if get_origin(annotation) is Literal:
        return all(type(value) in kinds for value in get_args(annotation))
    return get_origin(annotation) in (Union, UnionType) and all(is_of(option, kinds) for option in get_args(annotation))


def evaluate(value: Attribute, bindings: Mapping[str, int]) -> Any:
    """The attribute with every dimension in it replaced by its integer."""
    if isinstance(value, Dim):
        return value.evaluate(bindings)
    if isinstance(value, tuple):
        return tuple(evaluate(v, bindings) for v in value)
    return value


def substitute(value: Attribute, bindings: Mapping[str, Dim | int]) -> Attribute:
    """The attribute with symbols replaced by dimensions."""
    if isinstance(value, Dim):
        return value.substitute(bindings)
    if isinstance(value, tuple):
        return tuple(substitute(v, bindings) for v in value)
    return value


def dimensions(value: Attribute) -> list[Dim]:
    """The dimensions in an attribute, those in lists included."""
    if isinstance(value, Dim):
        return [value]
    return [d for item in value for d in dimensions(item)] if isinstance(value, tuple) else []


def attribute_text(value: Attribute) -> str:
    """The attribute as the text format writes it; floats keep every bit."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "nan" if value != value else "inf" if value > 0 else "-inf"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
        return f'"{escaped}"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(attribute_text, value))}]"
    return str(value)


def same(a: Attribute, b: Attribute) -> bool:
    """Equality that keeps `1`, `1.0` and `true` apart and lets a NaN equal itself."""
    return a is b or attribute_text(a) == attribute_text(b)
