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
    (planned,) = plan_for_cpus(graphs, [cpu], chosen, ahead=ahead)
    return planned


def plan_for_cpus(
    graphs: Sequence[Graph],
    cpus: Sequence[Cpu],
    chosen: Mapping[str, Settings] = MappingProxyType({}),
    *,
    ahead: bool = False,
) -> list[Planned]:
    """As `plan_graphs`, for each of some CPUs. All read one file, which holds a weight once for each of its layouts."""
    modules = [KernelModule(cpu, chosen, ahead=ahead) for cpu in cpus]
    weights = dict[str, Weight]()
    try:
        emitted = [[emit_graph(graph, kernels, weights) for graph in graphs] for kernels in modules]
        layout = plan_weights([*weights.values()])
        offsets = {name: place.offset for name, place in layout.places.items()}
        planned = [
            Planned(
                {graph.graph.name: assemble(graph, kernels, offsets) for graph in each},
                kernels,
                [*weights.values()],
                layout,
            )
            for kernels, each in zip(modules, emitted, strict=True)
        ]
        for plan in (plan for each in planned for plan in each.plans.values()):
            verify_plan(plan)
    except BaseException:
        for kernels in modules:
            kernels.close()
        raise
    return planned


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
    code = plans_code(plans, dimensions, planned.layout.size, settings, profiled=profiled)
    return Library(kernels, code, planned.kernels.cpu.triple)
