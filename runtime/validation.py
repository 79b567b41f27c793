"""pydantic's findings in our words: which value is wrong, and what it must be."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, cast, get_args

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
    findings = error.errors(include_url=False)
    finding = cast("Mapping[str, Any]", findings[0])
    place = ".".join(str(part) for part in finding["loc"])
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return place, _problem(place, finding, model) + more


def _problem(place: str, finding: Mapping[str, Any], model: type[BaseModel] | None) -> str:
    kind: str = finding["type"]
    value: object = finding["input"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(place, model.model_fields if model is not None else (), 1)
        return "is not known here" + (f": did you mean {near[0]}?" if near else "")
    requirement = _requirement(kind, finding.get("ctx", {}), _field(model, finding["loc"]))
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


def _field(model: type[BaseModel] | None, location: tuple[int | str, ...]) -> FieldInfo | None:
    """The field of the model that a finding is about; None for what lies deeper."""
    return None if model is None or len(location) != 1 else model.model_fields.get(str(location[0]))


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
