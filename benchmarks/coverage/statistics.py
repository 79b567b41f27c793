"""What a compiled program consists of: its ops by kind, and what it keeps for each token and each row."""

from __future__ import annotations

from collections import Counter

from graphwright.ir import Graph, Program, StateType

RAISED = (
    "attention",
    "rope",
    "rms_norm",
    "layer_norm",
    "glu",
    "activation",
    "softcap",
    "moe_router",
    "moe_experts",
)
"""Ops that say what they mean; any op that keeps a recurrent state is one as well."""

PLAIN = {
    "linear",
    "embedding",
    "add",
    "kv_append",
    "split_heads",
    "merge_heads",
    "split",
    "constant",
    "iota",
    "reshape",
    "gather",
    "cast",
}
"""Ops that every compiled model has, whatever was recognized in it."""


def graph_of(program: Program) -> Graph:
    """The graph that a program's figures are taken from."""
    return program.graphs["prefill" if "prefill" in program.graphs else "forward"]


def operations(program: Program) -> dict[str, int]:
    """How often each op stands in the graph."""
    return dict(Counter(op.name for op in graph_of(program)))


def recurrent_operations(program: Program) -> set[str]:
    """The names of ops that continue a state without a token axis."""
    graph = graph_of(program)
    fixed = {v for v in graph.inputs if isinstance(v.type, StateType) and _bytes(v.type, 2) == _bytes(v.type, 1)}
    return {op.name for op in graph if any(v in fixed for v in op.inputs)}


def memory(program: Program) -> tuple[int, int]:
    """Bytes that a row keeps for each token, and bytes that it keeps whatever its length."""
    states = [v.type for v in graph_of(program).inputs if isinstance(v.type, StateType)]
    per_token = sum(_bytes(type, 2) - _bytes(type, 1) for type in states)
    return per_token, sum(_bytes(type, 1) for type in states) - per_token


def _bytes(type: StateType, capacity: int) -> int:
    return type.bits.evaluate({"B": 1, "C": capacity}) // 8


def summary(counts: dict[str, int], recurrent: set[str]) -> str:
    """The raised ops with their counts, and what stayed primitive."""
    raised = [f"{name} {counts[name]}" for name in (*RAISED, *sorted(recurrent - set(RAISED))) if name in counts]
    rest = {n: c for n, c in counts.items() if n not in RAISED and n not in PLAIN and n not in recurrent}
    most = sorted(rest.items(), key=lambda item: -item[1])[:5]
    primitive = ", ".join(f"{name} {count}" for name, count in most)
    return ", ".join(raised) + (f"; primitive: {primitive}{', …' if len(rest) > len(most) else ''}" if most else "")
