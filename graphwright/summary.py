"""A program in numbers: ops, weights, and what prefill and decode cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from graphwright.ir import Graph, Program
from graphwright.ir.pricing import graph_cost

PREFILL_TOKENS = 512
DECODE_CONTEXT = 128


@dataclass(frozen=True)
class PhaseCost:
    """What one run of a graph costs, batch 1: FLOPs (a multiply-add is two), bytes moved, launches.

    Every value is counted as if it made one trip to memory.
    """

    phase: str
    flops: int
    bytes: int
    launches: int


def weight_bytes(program: Program) -> int:
    """Bytes of all weights as the program holds them."""
    return sum(weight.type.bits.evaluate({}) for weight in program.weights.values()) // 8


def op_counts(graph: Graph) -> Counter[str]:
    """How many ops of each name there are."""
    return Counter(op.name for op in graph)


def phase_costs(program: Program) -> list[PhaseCost]:
    """Of prefill with 512 tokens and of decode at a context of 128, or fewer where the model's context is shorter.

    A captured program, which has no cache, is priced for its whole sequence; a context, of T tokens, is as long as the
    prompt. Graphs with other symbols are left out.
    """
    context = program.metadata.get("context_length")
    longest = context if isinstance(context, int) else max(PREFILL_TOKENS, DECODE_CONTEXT)
    prompt, past = min(PREFILL_TOKENS, longest), min(DECODE_CONTEXT, longest)
    costs: list[PhaseCost] = []
    for name, graph in program.graphs.items():
        if name == "forward":
            costs += _price(f"{prompt} tokens", graph, {"B": 1, "S": prompt})
        elif name == "encode":
            costs += _price(f"encode {prompt} tokens", graph, {"B": 1, "S": prompt, "T": prompt})
        elif name == "prefill":
            costs += _price(
                f"prefill of {prompt} tokens", graph, {"B": 1, "S": prompt, "N": 1, "C": prompt, "T": prompt}
            )
            if "decode" not in program.graphs:
                costs += _price(f"decode at {past} tokens", graph, {"B": 1, "S": 1, "N": 1, "C": past, "T": prompt})
        elif name == "decode":
            costs += _price(f"decode at {past} tokens", graph, {"B": 1, "S": 1, "N": 1, "C": past, "T": prompt})
    return costs


def _price(phase: str, graph: Graph, bindings: dict[str, int]) -> list[PhaseCost]:
    cost = graph_cost(graph)
    if cost.symbols - bindings.keys():
        return []
    works = cost.at(bindings)
    return [PhaseCost(phase, sum(w.flops for w in works), -(-sum(w.bits for w in works) // 8), cost.launches)]
