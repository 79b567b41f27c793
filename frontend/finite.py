"""Whether a program's weights are numbers at all: a broken training run or conversion leaves NaN or infinity behind."""

import math

import torch

from graphwright.ir import Program, StoredArray, StoredFile, WeightError
from graphwright.ir.weights import sources

CHUNK = 1 << 20
"""Elements looked at together: few enough to stay in the processor's cache, enough to hide the calls."""


def check_finite(program: Program) -> None:
    """Reads every stored weight once, chunk by chunk, and raises `WeightError` naming the first that is not finite.

    The one exception is a mask to be added to scores: zeros and minus infinity, nothing else.
    """
    seen: set[StoredFile | StoredArray] = set()
    for weight in program.weights.values():
        for source in sources(weight.expression):
            if source in seen or not source.type.dtype.is_float:
                continue
            seen.add(source)
            place = _first_strange(source.evaluate())
            if place is not None:
                index, value = place
                file = f"{source.path}: " if isinstance(source, StoredFile) else ""
                raise WeightError(f"{file}weight '{weight.name}' is not finite: element {index} is {value}")


def _first_strange(tensor: torch.Tensor) -> tuple[list[int], float] | None:
    """Index and value of the first element that is not finite, or None."""
    flat = tensor.reshape(-1)
    # The extremes of a chunk are finite exactly if all of it is: NaN wins every comparison. No copy, unlike `isfinite`.
    for start in range(0, flat.numel(), CHUNK):
        chunk = flat[start : start + CHUNK]
        if chunk.element_size() == 1:
            chunk = chunk.float()
        low, high = (float(extreme) for extreme in torch.aminmax(chunk))
        if math.isfinite(low) and math.isfinite(high):
            continue
        if low == -math.inf and _is_mask(flat):
            return None
        position = int(torch.nonzero(~torch.isfinite(chunk))[0, 0])
        index = torch.unravel_index(torch.tensor(start + position), tensor.shape)
        return [int(i) for i in index], float(chunk[position])
    return None


def _is_mask(flat: torch.Tensor) -> bool:
    chunks = (flat[start : start + CHUNK] for start in range(0, flat.numel(), CHUNK))
    return all(bool(((chunk == 0) | (chunk == -math.inf)).all()) for chunk in chunks)
