"""The table of importers: `@aten("add.Tensor")` registers the function below it for that overload."""

from collections.abc import Callable
from typing import Any, TypeVar

from graphwright.frontend.aten.site import Site
from graphwright.ir import Value

Imported = Value | tuple[Value | None, ...]
"""What an importer gives: a value for each result, None for one that the IR cannot give."""
Importer = Callable[..., Imported]
IMPORTERS: dict[str, Importer] = {}
"""By operator name, such as `aten.add.Tensor`. An importer takes the site and then the operator's own arguments."""

IGNORED_ARGUMENTS = frozenset({"device", "layout", "pin_memory", "memory_format", "non_blocking", "copy"})
"""Arguments that say where or how a tensor lies in memory, not what it holds."""

Function = TypeVar("Function", bound=Importer)


def aten(*overloads: str) -> Callable[[Function], Function]:
    """Registers an importer for overloads of the aten namespace; a bare name means the overload `default`."""
    return imports(*(f"aten.{o}" if "." in o else f"aten.{o}.default" for o in overloads))


def imports(*operators: str) -> Callable[[Function], Function]:
    """Registers an importer for operators of any namespace by their full names."""

    def register(function: Function) -> Function:
        for name in operators:
            assert name not in IMPORTERS, f"{name} is imported twice"
            IMPORTERS[name] = function
        return function

    return register


def same(site: Site, x: Value, *_: Any, **__: Any) -> Value:
    """The importer of what changes no value."""
    return x
