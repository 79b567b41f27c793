"""What a trace has settled about the sizes of its inputs: names for those that stayed free, refusal of the rest."""

from collections.abc import Callable, Mapping

import torch
from torch.export import ExportedProgram

from graphwright.frontend.conditions import SIZE, Axes, bound_on_sequence, plain, restricts_nothing
from graphwright.frontend.dimensions import Dimensions
from graphwright.frontend.sources import FixedSizes
from graphwright.frontend.traced_graph import bounds, expression, guards, traced_value
from graphwright.ir import UnsupportedError, notify
from graphwright.ir.convention import BATCH, INPUT_IDS, SEQUENCE

"""The input whose length must stay free. Elsewhere a length that the module's code fixes is a number in the type."""

LEAST_TRIED = 64
"""Up to this least length each shorter one is tried."""

_LENGTH = {BATCH: "batch", SEQUENCE: "sequence"}


def must_stay_free(input: str, symbol: str) -> bool:
    """Whether it is an error if the module's code fixes this axis: the batch, and the length of the main input."""
    return symbol == BATCH or input == INPUT_IDS


def free_sizes(
    exported: ExportedProgram,
    axes: Mapping[str, Axes],
    is_refused: Callable[[int], bool] = lambda length: False,
    sizes: FixedSizes | None = None,
) -> tuple[Dimensions, int | None]:
    """The sizes of the inputs in the IR's symbols, and the longest sequence for which the trace holds, if any.

    `axes` are those of each input, by its name, in order. Raises `UnsupportedError` if the code of the module fixed an
    axis that must stay free or branched on its length. torch counts lengths from two on as alike; whether a trace holds
    for one as well, and where a guard sets single sizes apart, is tried by `single_sizes`. There is no other formula
    where `is_refused` says that the code refuses sequences of a length.
    """
    fakes = {node.name: traced_value(node) for node in exported.graph.nodes if node.op == "placeholder"}
    names: dict[str, str] = {}
    longest: int | None = None
    for name, (label, dynamic) in zip(exported.graph_signature.user_inputs, axes.items(), strict=True):
        for axis, symbol in dynamic.items():
            size: int | torch.SymInt = fakes[str(name)].shape[axis]
            free = None if isinstance(size, int) else expression(size)
            if free is None or not free.is_Symbol:
                if not must_stay_free(label, symbol) and (free is None or free.is_Integer):
                    continue
                what = f"the {_length(symbol)} (axis {axis} of '{label}')"
                raise UnsupportedError(f"the module's code {fixes(what, str(free or size), sizes)[9:]}")
            if (known := names.setdefault(free.name, symbol)) != symbol:
                pair = " and ".join(_LENGTH.get(s, s) for s in sorted((known, symbol)))
                raise UnsupportedError(f"the module's code makes {pair} the same length")
            least, most = bounds(exported, free)
            if least > 2:
                asserted = symbol == SEQUENCE and least <= LEAST_TRIED and all(map(is_refused, range(1, least)))
                if not asserted:
                    raise UnsupportedError(
                        f"the module's code branches on the {_length(symbol)}; as traced it takes {least} or more"
                    )
                notify(f"the module's code refuses sequences of fewer than {least} tokens; the program takes them too")
            if most is not None and symbol == BATCH:
                raise UnsupportedError(f"the module's code takes a batch of {most} at most")
            longest = most if symbol == SEQUENCE and most is not None else longest
    for guard in guards(exported):
        if not restricts_nothing(guard):
            most = bound_on_sequence(guard, axes)
            if most is not None:
                longest = most if longest is None else min(longest, most)
                continue
            raise UnsupportedError(f"the module's code branches on a size: the trace holds only where {plain(guard)}")
    return Dimensions(names), longest


_WHAT_TO_WRITE = (
    "a loop over it, int() of it, or a reshape to a number does that; take sizes from x.shape and work on whole tensors"
)


def fixes(what: str, value: str, sizes: FixedSizes | None) -> str:
    """That a size is fixed, where, and what to write instead."""
    line = sizes.line(value) if sizes is not None else ""
    return f"its code fixes {what} to {value}{f' at {line}' if line else ''}: {_WHAT_TO_WRITE}"


def named_size(size: str, inputs: Mapping[str, Axes]) -> str:
    """Torch's name for the size of an input, `L['inputs'][0].size()[1]`, in words and with the input's name."""
    found = SIZE.fullmatch(size)
    if found is None:
        return plain(size)
    place = int(found[2] or 0)
    name = list(inputs)[place] if place < len(inputs) else found[1]
    symbol = inputs[name].get(int(found[3]), "") if name == INPUT_IDS else ""
    axis = f"axis {found[3]} of '{name}'"
    return f"the {_length(symbol)} ({axis})" if symbol in _LENGTH else axis


def _length(symbol: str) -> str:
    return f"{_LENGTH[symbol]} length" if symbol in _LENGTH else f"length {symbol}"
