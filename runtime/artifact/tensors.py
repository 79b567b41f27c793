"""What a program exchanges and keeps: inputs and outputs, caches, recurrent states."""

from typing import Literal, Self

from pydantic import field_validator, model_validator

from graphwright.runtime.artifact.strict import Count, Positive, Strict, check_shape
from graphwright.runtime.element_types import ElementTypeName


class TensorSpec(Strict):
    """Element type and shape of one input or output; a dimension is a number or the name of a dynamic one."""

    dtype: ElementTypeName
    shape: tuple[Count | str, ...]

    _checked = field_validator("shape")(check_shape)


class CacheSpec(Strict):
    """One KV cache: `contiguous`, of shape ["batch", heads, "capacity", head_size], bound in place to `input` and
    `output`; or a `ring` of a fixed number of places, ["batch", heads, places, head_size], read from `input` and
    written to `output`, another buffer. Position p of a row is at place p, of a ring at place p modulo their number.
    """

    input: str
    output: str
    dtype: ElementTypeName
    layout: Literal["contiguous", "ring"] = "contiguous"
    shape: tuple[Literal["batch"], Positive, Literal["capacity"] | Positive, Positive]

    _checked = field_validator("shape")(check_shape)

    @model_validator(mode="after")
    def _fixed_if_ring(self) -> Self:
        if (self.layout == "ring") != (self.shape[2] != "capacity"):
            raise ValueError("the shape of a ring has a number of places, that of a contiguous cache 'capacity'")
        return self


class StateSpec(Strict):
    """One recurrent state, of shape ["batch", sizes…]: read from `input`, and written to `output`, another buffer.

    Zeros are the state of a row without tokens.
    """

    input: str
    output: str
    dtype: ElementTypeName
    shape: tuple[Literal["batch"] | Positive, ...]

    @field_validator("shape")
    @classmethod
    def _rows_first(cls, shape: tuple[str | int, ...]) -> tuple[str | int, ...]:
        if shape[:1] != ("batch",) or "batch" in shape[1:]:
            raise ValueError("the shape of a state is 'batch' and then numbers")
        return check_shape(shape)
