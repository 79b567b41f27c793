"""Formats of weights, as options of passes name them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from graphwright.ir import DType, PassError, ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.rounding import Search
from graphwright.ir.weights import Applied, WeightExpression

Codes = Literal["i8", "u8", "i4", "u4", "i3", "u3", "i2", "u2", "f8e4m3", "f8e5m2", "f4e2m1"]
ScaleType = Literal["f32", "f16", "bf16", "f8e4m3", "f8e8m0"]

GROUPS: dict[ScaleType, int] = {"f8e8m0": 32, "f8e4m3": 16}
"""Scales that only formats of a fixed group have: those of OCP Microscaling Formats 1.0, and NVFP4."""


@dataclass(frozen=True)
class Format:
    """Codes of `to` with one scale for each `group` elements of the last axis (0: for all of it).

    Unsigned codes have zero points, or, with `minimum`, minimums.
    """

    to: Codes
    group: int
    scale: ScaleType
    minimum: bool = False

    def check(self, name: str) -> None:
        """Raises `PassError`, in the name of a pass, where there is no such format."""
        group = GROUPS.get(self.scale)
        if self.group < 0 or (group is not None and self.group != group):
            wanted = "0 (one scale a row) or more" if group is None else f"{group} with scales of {self.scale}"
            raise PassError(f"{name}: groups of {self.group}, expected {wanted}")
        if self.minimum and not self.to.startswith("u"):
            raise PassError(f"{name}: minimum=true is for unsigned codes, as in to=u4, not for {self.to}")
        if self.scale == "f8e4m3" and self.to != "f4e2m1":
            raise PassError(f"{name}: scales of f8e4m3 are those of NVFP4, with codes of f4e2m1, not {self.to}")
        if self.scale == "f8e8m0" and not self.to.startswith("f"):
            raise PassError(f"{name}: scales of f8e8m0 are those of MXFP4 and MXFP8, codes are floats, not {self.to}")

    def rounded(self, weight: WeightExpression, search: Search) -> Applied:
        """The weight rounded to nearest, when it is written."""
        attributes: Mapping[str, Attribute] = {
            "to": DType(self.to),
            "group": self.group,
            "scale": DType(self.scale),
            "tensor_scale": self.scale == "f8e4m3",
            "search": search,
            "minimum": self.minimum,
        }
        return Applied.of(ops.round_to_nearest, (weight,), attributes)
