"""Lowered graphs as launch plans for one architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphwright.backends.cuda.emit import Variants, emit_graph
from graphwright.backends.cuda.emit.graph import with_places
from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.cuda.library import library_for
from graphwright.backends.cuda.seeded import Weights, arranged
from graphwright.backends.plan import Plan, verify_plan, with_slots, with_waits
from graphwright.ir.graph import Graph
from graphwright.ir.weights import Weight


@dataclass(frozen=True)
class Planned:
    """The plans of graphs, by the graph's name, the variants that they and the fills of weights launch, and weights."""

    gpu: Gpu
    plans: dict[str, Plan]
    variants: Variants
    weights: Weights


def plan_graphs(graphs: Sequence[Graph], gpu: Gpu) -> Planned:
    """The launch plan of each lowered graph; all share variants and weights. Raises `UnsupportedError`."""
    variants, weights = Variants(), dict[str, Weight]()
    emitted = [emit_graph(graph, library_for(gpu), variants, weights) for graph in graphs]
    # By name, so that all architectures share one file.
    held = [weights[name] for name in sorted(weights)]
    arrangement = arranged(held)
    plans = {plan.name: with_waits(with_slots(with_places(plan, arrangement.offsets))) for plan in emitted}
    for plan in plans.values():
        verify_plan(plan)
    made = [fill.variant(gpu) for fill in arrangement.fills]
    return Planned(gpu, plans, variants | {variant.name: variant for variant in made}, arrangement)
