"""Single sizes that a trace does not speak for: one, and those at which the module's code was seen to ask.

torch counts lengths from two on as alike, and `if length == 8` leaves no trace but the guard that it is not 8. At each
such size the module is run again. What its code asks of torch there is compared with the trace, which costs a tenth of
a trace; only where it asks for something else is the module traced at that size, and the two programs are compared on
numbers.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from itertools import product
from typing import Any

import torch

from graphwright.frontend.conditions import Axes
from graphwright.frontend.export import Trace
from graphwright.frontend.torch_calls import first_difference, is_library, run_at_sizes
from graphwright.frontend.traced_graph import inequalities
from graphwright.ir import UnsupportedError
from graphwright.ir.convention import BATCH, SEQUENCE

Inputs = Mapping[str, tuple[torch.Tensor, Axes]]

MOST = 8
"""Excluded sizes that are tried; each costs a run of the module."""

SMALL = 4
"""In a condition on several sizes all but one are tried up to this."""

_WORDS = {BATCH: "a batch", SEQUENCE: "a sequence"}


def require_same_at_single_sizes(
    model: torch.nn.Module,
    call: Callable[..., Any],
    inputs: Inputs,
    traced: Trace,
    context: object,
    same: Callable[[Mapping[str, int]], bool],
) -> None:
    """Raises `UnsupportedError` if the module computes something else at a size that its trace leaves out.

    `context` is the longest sequence that the model takes, if it is known. `same` tells, by tracing at these sizes of
    all symbols, whether both programs compute the same.
    """
    generic = {
        symbol: int(example.shape[axis])
        for example, axes in inputs.values()
        for axis, symbol in axes.items()
        if symbol in traced.dimensions.names.values()
    }
    assert traced.run is not None
    for sizes, line in excluded_sizes(traced, generic, context).items():
        bindings = dict(sizes)
        shapes = [(example.shape, example.dtype) for example, _ in at_sizes(inputs, bindings).values()]
        torch_sizes = {name: bindings[symbol] for name, symbol in traced.dimensions.names.items()}
        try:
            place = first_difference(traced.run, run_at_sizes(model, call, shapes), torch_sizes)
        except (IndexError, ValueError, AssertionError):
            continue  # the module itself refuses this size: there is no answer to differ from
        except Exception:  # what has no values cannot be run everywhere
            place = ""
        if place is not None and not same(bindings):
            raise UnsupportedError(_difference(bindings, generic, place if is_library(line) else line))


def at_sizes(inputs: Inputs, sizes: Mapping[str, int]) -> Inputs:
    """Inputs of zeros to trace with, of these sizes and no others."""

    def example(tensor: torch.Tensor, axes: Axes) -> torch.Tensor:
        return tensor.new_zeros([sizes.get(axes.get(i, ""), int(size)) for i, size in enumerate(tensor.shape)])

    return {name: (example(tensor, axes), {}) for name, (tensor, axes) in inputs.items()}


def _difference(sizes: Mapping[str, int], generic: Mapping[str, int], place: str) -> str:
    special = {symbol: size for symbol, size in sizes.items() if size != generic[symbol]} or sizes
    words = " and ".join(f"{_WORDS.get(symbol, f'a length {symbol}')} of {size}" for symbol, size in special.items())
    where = f" ({place})" if place else ""
    return f"the module's code computes something else at {words} than at other sizes{where}; write it for all sizes"


def excluded_sizes(
    traced: Trace, generic: Mapping[str, int], context: object
) -> dict[tuple[tuple[str, int], ...], str]:
    """Sizes of all symbols that the trace does not speak for, each with the user's line that asked for it, if known.

    The other symbols have their traced sizes. Raises `UnsupportedError` if there are too many to try.
    """
    found: dict[tuple[tuple[str, int], ...], str] = {}
    lengths = [n for n in (traced.longest, context) if isinstance(n, int)]

    def add(special: Mapping[str, int], line: str) -> None:
        if special.get(SEQUENCE, 1) <= min(lengths, default=special.get(SEQUENCE, 1)):
            found.setdefault(tuple(sorted({**generic, **special}.items())), line)

    asked = [(polynomial, line) for polynomial, line in inequalities(traced.exported) if polynomial.free_symbols]
    roots = [
        (root, line)
        for polynomial, line in asked
        for root in _roots(polynomial, traced.dimensions.names)
        if set(root) <= set(generic)
    ]
    for root, line in roots:
        add(root, line)
    for (one, line), (other, _) in product(roots, roots):
        if not set(one) & set(other):
            add({**one, **other}, line)
    if len(found) > MOST:
        line = next((line for line in found.values() if not is_library(line)), "")
        raise UnsupportedError(
            f"the module's code asks for {len(found)} single sizes{f' ({line})' if line else ''}; "
            f"up to {MOST} are tried, so write it for all sizes"
        )
    ones = dict.fromkeys(generic, 1)
    for special in (*({symbol: 1} for symbol in ones), ones):
        add(special, "")
    return found


def _roots(polynomial: Any, names: Mapping[str, str]) -> list[dict[str, int]]:
    """Sizes at which a polynomial is zero; of several symbols all but one are tried up to a small size."""
    sympy: Any = import_module("sympy")
    *others, last = sorted(polynomial.free_symbols, key=lambda symbol: symbol.name)
    found: list[dict[str, int]] = []
    for sizes in product(range(1, SMALL + 1), repeat=len(others)):
        rest = sympy.expand(polynomial.subs(dict(zip(others, sizes, strict=True))))
        if last not in rest.free_symbols:
            continue
        for root in sympy.Poly(rest, last).ground_roots():
            if root.is_Integer and root >= 1:
                known = {names.get(s.name, ""): n for s, n in zip(others, sizes, strict=True)}
                found.append({**known, names.get(last.name, ""): int(root)})
    return found
