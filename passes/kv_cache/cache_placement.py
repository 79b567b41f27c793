"""Where caches go: a minimum cut, by bytes per token, between the tokens and what attention needs of all of them.

Attention reads keys and values of every token so far. Each is made from earlier values by ops; some of these are cheap
enough to be done again for all tokens at every step (moving elements, elementwise arithmetic, norms, rotations), the
others (products, attention) are not. Among the values behind which only cheap ops follow, the cut that weighs least is
cached: the heads before they are repeated for their group, one latent instead of keys and values made from it.
"""

from collections.abc import Callable, Container, Iterable
from importlib import import_module
from typing import Any

from graphwright.ir import Dim, Value
from graphwright.ir.convention import BATCH, SEQUENCE
from graphwright.ir.dims import product
from graphwright.ir.traits import Trait
from graphwright.passes.kv_cache.token_axes import TokenAxes

B, S = Dim.of(BATCH), Dim.of(SEQUENCE)


def bits_per_token(value: Value, axes: TokenAxes) -> int | None:
    """Bits that a cache of this value takes for a token of a row, None if it cannot be cached."""
    shape, tokens = value.type.shape, axes[value]
    if not tokens.alone or not shape or shape[0] is not B or not tokens.axis:
        return None
    others = product(d for i, d in enumerate(shape) if i not in (0, tokens.axis)).constant
    return None if others is None else others * value.tensor.dtype.bits


class NoCutError(Exception):
    """Nothing between the tokens and a demanded value can be cached."""


def place_caches(demanded: Iterable[Value], axes: TokenAxes, is_free: Callable[[Value], bool]) -> set[Value]:
    """The values to cache so that every demanded one can be had for all tokens by cheap ops alone.

    `is_free` says which values depend on no token. Of equally small cuts the one nearest to the demand is taken, which
    leaves least to do again. Raises `NoCutError` if there is none.
    """
    networks: Any = import_module("networkx")  # untyped, and not needed to list the passes
    graph = networks.DiGraph()
    demanded = set(demanded)
    if not demanded:
        return set()
    for value in demanded:
        graph.add_edge(("after", value), "demand")
    pending, seen = list(demanded), set[Value]()
    while pending:
        value = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        bits = bits_per_token(value, axes)
        limit = {} if bits is None else {"capacity": bits}
        graph.add_edge(("before", value), ("after", value), **limit)
        if value.owner is None or not value.owner.definition.has(Trait.CHEAP):
            graph.add_edge("tokens", ("before", value))
            continue
        for operand in value.owner.inputs:
            if not is_free(operand):
                graph.add_edge(("after", operand), ("before", value))
                pending.append(operand)
    # networkx gives, of the smallest cuts, the one nearest to the sink
    try:
        far: set[Any] = networks.minimum_cut(graph, "tokens", "demand")[1][0]
    except networks.NetworkXUnbounded:
        raise NoCutError from None
    return {value for value in seen if ("before", value) in far and ("after", value) not in far}


def cut_behind(demand: Value, cut: Container[Value]) -> list[Value]:
    """The values of the cut that a demanded one is made from."""
    found: list[Value] = []
    pending, seen = [demand], {demand}
    while pending:
        value = pending.pop()
        if value in cut:
            found.append(value)
        elif value.owner is not None:
            fresh = [v for v in value.owner.inputs if v not in seen]
            pending.extend(fresh)
            seen.update(fresh)
    return found
