"""pydantic's findings in our words: which value is wrong, and what it must be."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

LONGEST_SHOWN = 60
"""Characters of a wrong value that are shown."""

_KINDS = {
    "bool": "true or false",
    "dict": "a table",
    "model": "a table",
    "float": "a number",
    "int": "an integer",
    "list": "a list",
    "string": "text",
    "tuple": "a list",
}


def first_finding(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """The first finding in one line, `top_p is 1.5: must be above 0 and at most 1`, and how many more there are.

    With the `model` that was validated, the range is the field's whole one.
    """
    place, problem = finding_parts(error, model)
    return f"{place} {problem}" if place else problem


def finding_parts(error: ValidationError, model: type[BaseModel] | None = None) -> tuple[str, str]:
    """The place of the first finding, a field's dotted name or nothing, and what is wrong there.

    With a space between they read as a sentence.
    """
    findings = cast("list[Mapping[str, Any]]", error.errors(include_url=False))
    first = findings[0]
    field = _field(model, first["loc"])
    if field is None or not _is_union(field) or len(first["loc"]) < 2:
        found, place, problem = 1, first["loc"], _problem(first, model)
    else:
        # pydantic tries each member, and puts its name behind the field's; what is right up to a point tells the most
        tried = [f for f in findings if f["loc"][0] == first["loc"][0]]
        deepest = max(tried, key=lambda f: len(f["loc"]))
        found, place = len(tried), (*deepest["loc"][:1], *deepest["loc"][2:])
        problem = _problem(deepest, model) if len(place) > 1 else _union_problem(tried, model)
    more = f" (and {len(findings) - found} more)" if len(findings) > found else ""
    return _dotted(place), problem + more


def _union_problem(findings: Sequence[Mapping[str, Any]], model: type[BaseModel] | None) -> str:
    """What is wrong with a value that no member of a union takes."""
    texts = [_requirement(f["type"], f.get("ctx", {}), None) for f in findings]
    known = list(dict.fromkeys(text for text in texts if text is not None))
    return f"is {_shown(findings[0]['input'])}: must be {' or '.join(known)}" if known else _problem(findings[0], model)


def _problem(finding: Mapping[str, Any], model: type[BaseModel] | None) -> str:
    place: tuple[int | str, ...] = finding["loc"]
    kind: str = finding["type"]
    value: object = finding["input"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(_dotted(place), model.model_fields if model is not None else (), 1)
        return "is not known here" + (f": did you mean {near[0]}?" if near else "")
    requirement = _requirement(kind, finding.get("ctx", {}), _field(model, place) if len(place) == 1 else None)
    if requirement is not None:
        return f"is {_shown(value)}: must be {requirement}" if place else f"{_shown(value)}: must be {requirement}"
    message = str(finding["msg"]).removeprefix("Value error, ")
    shown = "not valid" if isinstance(value, dict | list) else _shown(value)
    return f"is {shown}: {message}" if place else message


def _requirement(kind: str, context: Mapping[str, Any], field: FieldInfo | None) -> str | None:
    """What the value must be; None where pydantic's own message has to do."""
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        bounds = {} if field is None else dict(_bounds(field))
        own = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}[kind]
        return _range_text(bounds | {own: context[own]})
    if kind == "finite_number":
        return "a finite number"
    if kind == "string_too_short":
        return "at least one character long" if context["min_length"] == 1 else None
    if kind in ("literal_error", "enum"):
        return f"one of {context['expected']}"
    if kind == "int_from_float":
        return "an integer"
    name, _, rest = kind.rpartition("_")
    return _KINDS.get(name.removesuffix("_attributes")) if rest in ("type", "parsing", "size") else None


def _range_text(bounds: Mapping[str, Any]) -> str:
    least = f"above {bounds['gt']:g}" if "gt" in bounds else f"at least {bounds['ge']:g}" if "ge" in bounds else ""
    most = f"below {bounds['lt']:g}" if "lt" in bounds else f"at most {bounds['le']:g}" if "le" in bounds else ""
    return " and ".join(filter(None, (least, most)))


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


def _field(model: type[BaseModel] | None, location: tuple[int | str, ...]) -> FieldInfo | None:
    """The field of the model that a finding is in."""
    return None if model is None or not location else model.model_fields.get(str(location[0]))


def _is_union(field: FieldInfo) -> bool:
    """Whether a field takes values of several types, beside None."""
    members = [m for m in get_args(field.annotation) if m is not NoneType]
    return get_origin(field.annotation) in (Union, UnionType) and len(members) > 1


def _bounds(field: FieldInfo) -> Iterator[tuple[str, Any]]:
    """The bounds that a field's annotation states, in it or in a part of it, as of `Annotated[int, …] | None`."""
    for bound in (*field.metadata, *_nested(field.annotation)):
        match bound:
            case Gt():
                yield "gt", bound.gt
            case Ge():
                yield "ge", bound.ge
            case Lt():
                yield "lt", bound.lt
            case Le():
                yield "le", bound.le
            case _:
                pass


def _nested(annotation: Any) -> Iterator[Any]:
    for part in get_args(annotation):
        if isinstance(part, FieldInfo):
            yield from part.metadata
        else:
            yield from _nested(part)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
