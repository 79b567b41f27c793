"""Lowered graphs as launch plans, and plans as one library of step functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from graphwright.backends.kernel_library import Settings
from graphwright.backends.plan import Plan, verify_plan
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.emit import KernelModule, emit_graph
from graphwright.backends.tvm.linking import Library
from graphwright.backends.tvm.region.assemble import assemble
from graphwright.backends.tvm.region.plan_code import plans_code
from graphwright.backends.weights_file import WeightsLayout, plan_weights
from graphwright.ir.graph import Graph
from graphwright.ir.weights import Weight

STEP = "step"
"""By this name settings are chosen that belong to no kernel."""


@dataclass(frozen=True)
class Planned:
    """The plans of graphs, by the graph's name, their kernels, and the weights file that they read."""

    plans: dict[str, Plan]
    kernels: KernelModule
    weights: list[Weight]
    layout: WeightsLayout


def plan_graphs(
    graphs: Sequence[Graph], cpu: Cpu, chosen: Mapping[str, Settings] = MappingProxyType({}), *, ahead: bool = False
) -> Planned:
    """The launch plan of each lowered graph; all share kernels and weights.

    `chosen` are settings of kernels by their names, and of the `step`. With `ahead`, kernels are compiled in the
    background until they are closed, for `build_steps`. Raises `UnsupportedError`.
    """
    kernels, weights = KernelModule(cpu, chosen, ahead=ahead), dict[str, Weight]()
    try:
        emitted = [emit_graph(graph, kernels, weights) for graph in graphs]
        layout = plan_weights([*weights.values()])
        offsets = {name: place.offset for name, place in layout.places.items()}
        plans = {each.graph.name: assemble(each, kernels, offsets) for each in emitted}
        for plan in plans.values():
            verify_plan(plan)
    except BaseException:
        kernels.close()
        raise
    return Planned(plans, kernels, [*weights.values()], layout)


def build_steps(planned: Planned, graphs: Sequence[Graph], *, profiled: bool = False) -> Library:
    """A library with one step function for each of these graphs, named as it.

    Each workspace function takes all dimensions of the graphs, sorted by name. If `profiled`, threads note when they
    come to each stage of a step.
    """
    dimensions = sorted({symbol for graph in graphs for symbol in graph.symbols})
    plans = [planned.plans[graph.name] for graph in graphs]
    settings = planned.kernels.library.step_settings(planned.kernels.chosen.get(STEP, {}))
    called = {stage.function for plan in plans for stage in plan.stages}
    kernels = [
        planned.kernels.object(name)
        for name in planned.kernels.names
        if any(stage.function in called for stage in planned.kernels.record(name).stages)
    ]
    return Library(kernels, plans_code(plans, dimensions, planned.layout.size, settings, profiled=profiled))
