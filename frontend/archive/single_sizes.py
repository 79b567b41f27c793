"""Single sizes that the trace of an archive leaves out, as `L['ids'].size()[1] != 8` says.

A module is run again at such sizes (`frontend.single_sizes`). Of an archive only the trace is known, so a program is
refused where one of them is within its sizes. One itself every trace of torch leaves out; `capture` says so.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from graphwright.frontend.conditions import LONGEST_TRIED, Axes, plain, symbol_of
from graphwright.frontend.expression_text import ExpressionError
from graphwright.frontend.guard_values import where_it_holds
from graphwright.frontend.guards import Operation, Size, parse_guard, parts
from graphwright.ir import UnsupportedError
from graphwright.ir.convention import BATCH, SEQUENCE


def longest_without(guards: Sequence[str], axes: Mapping[str, Axes], longest: int | None) -> int | None:
    """The longest sequence up to which no single length is left out; `longest` if there is none to leave out.

    Raises `UnsupportedError` where a size is left out that is not the longest.
    """
    for guard in guards:
        try:
            condition = parse_guard(guard)
        except ExpressionError:
            continue  # `free_sizes` refuses it
        if condition.operator == "!=":
            longest = _longest_without(guard, condition, axes, longest)
    return longest


def _longest_without(guard: str, condition: Operation, axes: Mapping[str, Axes], longest: int | None) -> int | None:
    symbols = {symbol_of(part, axes) for part in parts(condition) if isinstance(part, Size)}
    if len(symbols) != 1 or None in symbols:
        raise UnsupportedError(f"the archive's trace holds only where {plain(guard)}; {_WRITE}")
    (symbol,) = symbols
    missing = _left_out(condition, longest if symbol == SEQUENCE else None)
    if missing is None:
        raise UnsupportedError(f"the archive's trace holds only where {plain(guard)}; {_WRITE}, or bound the length")
    if not missing:
        return longest
    if symbol == SEQUENCE and longest is not None and missing[0] + len(missing) > longest:
        return missing[0] - 1
    what = {BATCH: "a batch", SEQUENCE: "a sequence"}.get(str(symbol), f"a length {symbol}")
    shorter = f", or export it with Dim(max={missing[0] - 1})" if missing[0] > 2 else ""
    raise UnsupportedError(f"the archive's trace leaves out {what} of {missing[0]} ({plain(guard)}); {_WRITE}{shorter}")


_WRITE = "write the module for all sizes"


def _left_out(condition: Operation, longest: int | None) -> Sequence[int] | None:
    """The sizes from two on that a condition leaves out, in order; None where that can't be told."""
    match condition.operands:
        case (Size(), int() as size) | (int() as size, Size()):
            return [size] if 2 <= size <= (size if longest is None else longest) else []
        case _:
            pass
    if longest is None or longest >= LONGEST_TRIED:
        return None
    sizes = np.arange(2, longest + 1, dtype=np.int64)
    if not len(sizes):
        return []
    holds = where_it_holds(condition, sizes)
    return None if holds is None else [int(size) for size in sizes[~holds]]
