"""Lowered graphs as launch plans, and plans as one library of step functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphwright.backends.plan import Plan, verify_plan
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.emit import KernelModule, emit_graph
from graphwright.backends.tvm.library import Library, build_library
from graphwright.backends.tvm.region import StepFunctions, assemble, flatten, plans_code, schedule_tail, split_kernel
from graphwright.backends.tvm.region.stages import Stage
from graphwright.backends.tvm.target import llvm_target
from graphwright.backends.tvm.tvm_library import tvm
from graphwright.backends.weights_file import WeightsLayout, plan_weights
from graphwright.ir.graph import Graph
from graphwright.ir.weights import Weight


@dataclass(frozen=True)
class Planned:
    """The plans of graphs, by the graph's name, the code of their stages, and the weights file that they read."""

    plans: dict[str, Plan]
    code: dict[str, Stage]
    weights: list[Weight]
    layout: WeightsLayout


def plan_graphs(graphs: Sequence[Graph], cpu: Cpu) -> Planned:
    """The launch plan of each lowered graph; all share kernels and weights. Raises `UnsupportedError`."""
    module, weights = KernelModule(cpu), dict[str, Weight]()
    emitted = [emit_graph(graph, module, weights) for graph in graphs]
    layout = plan_weights([*weights.values()])
    offsets = {name: place.offset for name, place in layout.places.items()}
    flat = flatten(schedule_tail(module.module()), llvm_target(cpu))
    kernels = {name.name_hint: split_kernel(name.name_hint, f) for name, f in flat.functions_items()}
    plans = {each.graph.name: assemble(each, kernels, offsets) for each in emitted}
    for plan in plans.values():
        verify_plan(plan)
    code = {stage.name: stage for kernel in kernels.values() for stage in kernel.stages}
    return Planned(plans, code, [*weights.values()], layout)


def build_steps(planned: Planned, graphs: Sequence[Graph], cpu: Cpu) -> Library:
    """A library with one step function for each of these graphs, named as it.

    Each workspace function takes all dimensions of the graphs, sorted by name.
    """
    target = llvm_target(cpu)
    steps = StepFunctions(target, planned.code)
    dimensions = sorted({symbol for graph in graphs for symbol in graph.symbols})
    plans = [planned.plans[graph.name] for graph in graphs]
    for plan in plans:
        steps.add(plan, dimensions)
    return build_library(
        tvm.IRModule(steps.steps), tvm.IRModule(steps.stages), plans_code(plans, planned.layout.size), target
    )
