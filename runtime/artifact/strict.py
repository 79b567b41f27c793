"""What all parts of a manifest have in common.

An unknown field or a value of another type is an error, so that a reader never half understands an artifact.
"""

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST = 2**31 - 1
"""Of a size, a length or a token id: what programs hold in int32."""
MOST_BYTES = 2**50
"""Of a file: a petabyte."""
MOST_ELEMENTS = 2**40
"""Of one tensor, for each of its dynamic dimensions' steps."""
MOST_DIMENSIONS = 32
"""Of one tensor: numpy's own bound."""

Count = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[int, Field(gt=0, le=MOST)]


def check_shape(shape: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The shape. Raises ValueError for one of more dimensions, or of more elements, than any tensor has."""
    if len(shape) > MOST_DIMENSIONS:
        raise ValueError(f"a shape of {len(shape)} dimensions; at most {MOST_DIMENSIONS} are known")
    if math.prod(size for size in shape if isinstance(size, int)) > MOST_ELEMENTS:
        raise ValueError("a tensor of more than 2^40 elements, which no machine holds")
    return shape


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
