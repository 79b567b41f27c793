"""Lowered graphs as launch plans for one architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphwright.backends.cuda.emit import Variants, emit_graph
from graphwright.backends.cuda.emit.graph import with_places
from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.cuda.library import library_for
from graphwright.backends.plan import Plan, verify_plan, with_slots, with_waits
from graphwright.backends.weights_file import WeightsLayout, plan_weights
from graphwright.ir.graph import Graph
from graphwright.ir.weights import Weight


@dataclass(frozen=True)
class Planned:
    """The plans of graphs, by the graph's name, the variants that they launch, and the weights file that they read."""

    gpu: Gpu
    plans: dict[str, Plan]
    variants: Variants
    weights: list[Weight]
    layout: WeightsLayout


def plan_graphs(graphs: Sequence[Graph], gpu: Gpu) -> Planned:
    """The launch plan of each lowered graph; all share variants and weights. Raises `UnsupportedError`."""
    variants, weights = Variants(), dict[str, Weight]()
    emitted = [emit_graph(graph, library_for(gpu), variants, weights) for graph in graphs]
    # By name, so that all architectures share one file.
    held = [weights[name] for name in sorted(weights)]
    layout = plan_weights(held)
    offsets = {name: place.offset for name, place in layout.places.items()}
    plans = {plan.name: with_waits(with_slots(with_places(plan, offsets))) for plan in emitted}
    for plan in plans.values():
        verify_plan(plan)
    return Planned(gpu, plans, variants, held, layout)
