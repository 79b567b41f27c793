"""The groups of layers in a compressed-tensors configuration: what their weights and activations were rounded to."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, field_validator

from graphwright.frontend.quantized.layer import Rounding
from graphwright.ir import DType


class Arguments(BaseModel):
    """How numbers were rounded."""

    model_config = ConfigDict(frozen=True)
    num_bits: int = 8
    type: Literal["int", "float"] = "int"
    symmetric: bool = True
    group_size: int | None = None
    strategy: Literal["tensor", "channel", "group", "block", "token", "tensor_group"] | None = None
    block_structure: tuple[int, int] | None = None
    dynamic: bool | Literal["local"] = False

    @field_validator("block_structure", mode="before")
    @classmethod
    def _block(cls, value: object) -> object:
        """`[128, 128]`, or as older versions spell it `"128x128"`."""
        return value.split("x") if isinstance(value, str) else value

    @property
    def kind(self) -> str:
        """What has a scale of its own; the size of a group says it where no word does."""
        if self.strategy is not None:
            return self.strategy
        return "tensor" if self.group_size is None else "group" if self.group_size > 0 else "channel"

    @property
    def block(self) -> tuple[int, int]:
        return self.block_structure or (128, 128)

    @property
    def group(self) -> int:
        """Elements of a row with one scale; 0: the whole row."""
        if self.kind == "block":
            return self.block[1]
        return self.group_size or 0 if self.kind in ("group", "tensor_group") else 0

    def groups(self, columns: int) -> int:
        """Scales a row of so many columns has."""
        return -(-columns // self.group) if self.group else 1

    def rounding(self) -> Rounding | None:
        """These arguments as a rounding of inputs, or None if that is not among those that are read."""
        kinds = {("int", 8): DType.I8, ("float", 8): DType.F8E4M3}
        to = kinds.get((self.type, self.num_bits))
        if to is None or not self.symmetric or self.dynamic is not True or self.kind not in ("token", "group"):
            return None
        return Rounding(to, self.group)

    def __str__(self) -> str:
        sides = "symmetric" if self.symmetric else "asymmetric"
        return f"{self.type} of {self.num_bits} bits, {sides}, a scale a {self.kind}, dynamic: {self.dynamic}"


class Scheme(BaseModel):
    """One entry of `config_groups`."""

    model_config = ConfigDict(frozen=True)
    targets: list[str]
    weights: Arguments | None = None
    input_activations: Arguments | None = None
    output_activations: Arguments | None = None
    format: str | None = None

    @field_validator("targets")
    @classmethod
    def _patterns(cls, targets: list[str]) -> list[str]:
        for target in targets:
            if target.startswith("re:"):
                try:
                    re.compile(target[3:])
                except re.error as problem:
                    raise ValueError(f"{target}: {problem}") from None
        return targets
