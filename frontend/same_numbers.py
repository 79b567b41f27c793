"""Whether two captures of a module compute the same at one size: both are run in float64, on the same numbers."""

import math
from collections.abc import Mapping

import torch

from graphwright.ir import Interpreter, Program, StoredArray, UnsupportedError, Value
from graphwright.ir.convention import FORWARD
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import TensorType

LARGE = 1 << 22
"""Elements from which on a stored weight is not read: numbers made up serve as well."""

MOST_PRODUCTS = 1e12
"""Weights times tokens that may be computed; minutes on one core."""

TOLERANCE = 1e-7
"""Relative to the largest element: sums in another order are off by some 1e-12 of it in float64."""

LEVELS = (251, 31, 5, 2, 1)
"""Ids below these are tried: how many rows a table has is not known here."""


def compute_the_same(one: Program, other: Program, sizes: Mapping[str, int]) -> bool:
    """Whether `forward` of both gives the same at these sizes of `one`'s symbols; `other` has numbers there.

    Raises `UnsupportedError` where that costs too much to find out.
    """
    a, b = one.graphs[FORWARD], other.graphs[FORWARD]
    if list(a.outputs) != list(b.outputs):
        return False
    for name, value in a.outputs.items():
        shape = tuple(dim.substitute(sizes) for dim in value.type.shape)
        if (value.tensor.dtype, shape) != (b.outputs[name].tensor.dtype, b.outputs[name].type.shape):
            return False
    elements = sum(math.prod(d.evaluate({}) for d in w.type.shape) for w in one.weights.values())
    if elements * math.prod(sizes.values()) > MOST_PRODUCTS:
        raise UnsupportedError(
            f"the module's code differs at {dict(sizes)}, and it is too large to compare what it computes there"
        )
    inputs = [value for value in a.inputs if value.name is not None]
    for level in LEVELS:
        generator = torch.Generator().manual_seed(0)
        given = {value.name or "": _example(value, sizes, level, generator) for value in inputs}
        try:
            # the first run's numbers depend on how a broken table is reached; an index out of range is told by torch
            found = [_Interpreter().run(graph, given) for graph in (a, b)]
        except IndexError:
            continue
        return all(_close(found[0][name], found[1][name]) for name in a.outputs)
    return False


def _example(value: Value, sizes: Mapping[str, int], level: int, generator: torch.Generator) -> torch.Tensor:
    shape = [dim.evaluate(sizes) for dim in value.type.shape]
    dtype = value.tensor.dtype
    if dtype.is_float:
        return torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.randint(0, level, shape, generator=generator).to(torch_dtype(dtype))


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    if not bool(a.isfinite().all()) or not bool(b.isfinite().all()):
        return False
    return float((a - b).abs().max()) <= TOLERANCE * max(float(a.abs().max()), 1e-30) if a.numel() else True


class _Interpreter(Interpreter):
    """Reads small weights, and makes up large ones of files: one number a diagonal, which needs no memory."""

    def __init__(self) -> None:
        super().__init__("float64")

    def _read(self, value: Value, environment: Mapping[Value, torch.Tensor]) -> torch.Tensor:
        weight = value.weight
        if value in environment or weight is None or isinstance(weight.expression, StoredArray):
            return super()._read(value, environment)
        shape = [dim.evaluate({}) for dim in weight.type.shape]
        if math.prod(shape) < LARGE or not isinstance(weight.type, TensorType) or not weight.type.dtype.is_float:
            return super()._read(value, environment)
        generator = torch.Generator().manual_seed(sum(map(ord, weight.name)))
        numbers = torch.randn(sum(shape), generator=generator, dtype=torch.float64) / shape[-1] ** 0.5
        return numbers.as_strided(shape, [1] * len(shape))
