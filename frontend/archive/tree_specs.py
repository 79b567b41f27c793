"""How an archive writes the structure of a module's arguments and results, as JSON in a string."""

import json
import keyword
import re
from typing import Any, cast

from graphwright.frontend.expression_text import ExpressionError, quoted

LONGEST, DEEPEST = 1 << 18, 32
_TYPE = re.compile(r"[\w.]{1,200}", re.ASCII)
_FACTORIES = frozenset({"bool", "dict", "float", "int", "list", "set", "str", "tuple"})
_KEY = re.compile(r"[^\x00-\x1f\x7f\"'\\]{0,200}")


def require_tree_spec(text: str) -> None:
    """Raises `ExpressionError` for a structure that torch could not read without importing what the file names.

    Types are looked up by torch among those that are registered. A context that names an enumeration or a function by
    its module is refused. Names of arguments must be identifiers: torch writes them into the code of the module.
    """
    spec = _json(text)
    match spec:
        case [1, dict()]:
            _require_node(cast("dict[str, Any]", spec[1]), 1)
        case _:
            raise ExpressionError(f"{quoted(text)} is not a structure of arguments")
    for key in _named_arguments(spec[1]):
        if not key.isascii() or not key.isidentifier() or keyword.iskeyword(key):
            raise ExpressionError(f"{quoted(key)} is not a name of an argument")


def _require_node(node: dict[str, Any], depth: int) -> None:
    kind, context, children = node.get("type"), node.get("context"), node.get("children_spec")
    if depth > DEEPEST or set(node) != {"type", "context", "children_spec"} or not isinstance(children, list):
        raise ExpressionError("a structure of arguments is too deep or has other fields than torch writes")
    if kind is not None and not (isinstance(kind, str) and _TYPE.fullmatch(kind)):
        raise ExpressionError(f"{quoted(kind)} is not a type of arguments")
    if kind == "collections.defaultdict":
        _require_default(context)
    elif isinstance(context, str) and kind != "collections.namedtuple":
        _require_plain(_json(context), 1)
    elif context is not None and not isinstance(context, str):
        raise ExpressionError(f"{quoted(context)} describes no arguments")
    for child in cast("list[Any]", children):
        if not isinstance(child, dict):
            raise ExpressionError(f"{quoted(child)} is not a structure of arguments")
        _require_node(cast("dict[str, Any]", child), depth + 1)


def _require_default(context: Any) -> None:
    match context:
        case {"default_factory_module": "builtins", "default_factory_name": str() as name, "dict_context": keys}:
            if name in _FACTORIES and len(context) == 3:
                _require_plain(keys, 1)
                return
        case _:
            pass
    raise ExpressionError(f"a dictionary with the default {quoted(context)} is not read from an archive")


def _require_plain(value: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise ExpressionError("a structure of arguments is too deep")
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value)
        if "__enum__" in items:
            raise ExpressionError(f"{quoted(items.get('fqn'))} would be imported, which is not done for an archive")
        for key, item in items.items():
            _require_plain(key, depth + 1)
            _require_plain(item, depth + 1)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            _require_plain(item, depth + 1)
    elif isinstance(value, str) and not _KEY.fullmatch(value):
        raise ExpressionError(f"{quoted(value)} is not a name of an argument or result")


def _named_arguments(spec: Any) -> list[str]:
    """The keys of the second of (arguments, named arguments); none for a structure of results."""
    children = spec["children_spec"]
    if spec["type"] != "builtins.tuple" or len(children) != 2 or children[1]["type"] != "builtins.dict":
        return []
    keys = _json(children[1]["context"])
    return [str(key) for key in cast("list[Any]", keys)] if isinstance(keys, list) else []


def _json(text: Any) -> Any:
    if not isinstance(text, str) or len(text) > LONGEST:
        raise ExpressionError("a structure of arguments is not a text, or too long")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ExpressionError(f"{quoted(text)} is not a structure of arguments") from None
