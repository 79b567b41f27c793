"""The formats that a weight may get, by name: `i4-g32` is signed 4-bit codes with a scale for each 32 inputs."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from graphwright.ir import DType, PassError, Weight, ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.weights import Applied, WeightExpression

KEPT = "float"
"""The name of the format that leaves a weight as it is."""


@dataclass(frozen=True)
class Format:
    """Codes of `to`, each `group` of them with a scale (0: one a row), fitted for the least squared error."""

    name: str
    to: DType
    group: int

    def applied(self, weight: Weight) -> Applied:
        attributes: Mapping[str, Attribute] = {"to": self.to, "group": self.group, "search": "mse"}
        return Applied.of(ops.round_to_nearest, (weight.expression,), attributes)


CODES = ("i8", "u8", "i4", "u4", "i3", "u3", "i2", "u2", "f8e4m3")
GROUPS = (0, 16, 32, 64, 128, 256)
FORMATS: dict[str, Format | None] = {
    KEPT: None,
    **{f"{to}-g{group}": Format(f"{to}-g{group}", DType(to), group) for to in CODES for group in GROUPS},
}
"""All formats; None is the weight as it is."""


def parse_formats(text: str) -> tuple[str, ...]:
    """The names in a list joined by `+`, each once. Raises `PassError` for one that is none, with the nearest."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split("+")))
    for name in names:
        if name not in FORMATS:
            near = difflib.get_close_matches(name, FORMATS, 1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {KEPT} and CODES-gGROUP, such as i4-g32"
            raise PassError(f"mixed-precision: there is no format '{name}' in formats={text}: {hint}")
    return names


def expression(weight: Weight, name: str) -> WeightExpression:
    """What a float weight is in that format."""
    format = FORMATS[name]
    return weight.expression if format is None else format.applied(weight)
