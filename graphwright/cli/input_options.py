"""`--input NAME=VALUE`: inputs of a program as words of the command line."""

import json
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from graphwright.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor

    from graphwright.ir import Graph, Program, Value

LARGEST = 1 << 30
"""Bytes of a `.npy` file that are read at most."""
EXPECTED = "numbers, such as 3 or [[1,2],[3,4]], or a .npy file"


def read_inputs(program: "Program", given: Sequence[str]) -> dict[str, "Tensor"]:
    """The inputs by name, in the types that the program declares.

    A value is a number, a list of numbers (of lists, …) as JSON has them, or the path of a `.npy` file. Raises
    OptionError for an input that the program does not have, or numbers that its type or its table does not.
    """
    from graphwright.evaluating.interpreter_run import given_inputs
    from graphwright.ir import StateType

    takers = {n: taker for n, taker in given_inputs(program).items() if not isinstance(taker[1].type, StateType)}
    found: dict[str, Tensor] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise OptionError(f"--input is {text!r}; it must be NAME=VALUE, such as x=[1,2] or x=x.npy")
        if name not in takers:
            raise OptionError(f"--input {name}: there is no such input; the program takes {', '.join(takers)}")
        if name in found:
            raise OptionError(f"--input {name} is given twice")
        found[name] = _tensor(*takers[name], _array(name, value))
    return found


def _array(name: str, text: str) -> Any:
    import numpy

    from graphwright.ir.files import read_bytes

    if text.endswith(".npy"):
        try:
            return numpy.load(BytesIO(read_bytes(text, LARGEST)), allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError) as problem:
            reason = getattr(problem, "strerror", None) or str(problem)
            raise OptionError(f"--input {name}: {text} cannot be read as an array ({reason})") from None
    try:
        return numpy.asarray(json.loads(text))
    except (ValueError, RecursionError):
        raise OptionError(f"--input {name} is {text!r}; it must be {EXPECTED}") from None


def _tensor(graph: "Graph", input: "Value", array: Any) -> "Tensor":
    """The array in the input's element type, which must hold its numbers."""
    import torch

    from graphwright.ir import DType
    from graphwright.ir.torch_types import torch_dtype
    from graphwright.passes.proving.inputs import index_bound

    name, dtype, kind = input.name, input.tensor.dtype, array.dtype.kind
    kinds = "iuf" if dtype.is_float else "b" if dtype is DType.BOOL else "iu"
    if kind not in kinds:
        raise OptionError(f"--input {name} holds {array.dtype}, the program takes {input.type}")
    wide = torch.as_tensor(array.astype({"b": "bool", "f": "float64"}.get(kind, "int64")))
    tensor = wide.to(torch_dtype(dtype))
    if kinds == "iu":
        if not torch.equal(tensor.to(wide.dtype), wide):
            raise OptionError(f"--input {name} holds numbers that {dtype} does not")
        bound = index_bound(graph, input)
        outside = wide[:0] if bound is None else wide[(wide < 0) | (wide >= bound)]
        if outside.numel():
            raise OptionError(f"--input {name} holds {int(outside[0])}; it picks from a table of {bound} entries")
    return tensor
