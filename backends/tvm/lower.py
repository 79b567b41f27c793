"""Graphs as one library of step functions: Relax, then TensorIR, then one region for each graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.emit import VIEWS, Emitted, emit_function
from graphwright.backends.tvm.library import build_library
from graphwright.backends.tvm.region import (
    Linearizer,
    StepFunctions,
    constant_weights,
    flatten,
    schedule_tail,
    split_kernel,
)
from graphwright.backends.tvm.target import llvm_target
from graphwright.backends.tvm.tvm_library import relax, tirx, tvm
from graphwright.backends.weights_file import WeightsLayout, plan_weights
from graphwright.ir.graph import Graph
from graphwright.ir.weights import Weight


@dataclass(frozen=True)
class Lowered:
    """Compiled libraries, and the weights file that they read: what is in it, and where."""

    libraries: list[Any]
    weights: list[Weight]
    layout: WeightsLayout


def relax_module(graphs: Sequence[Graph], cpu: Cpu) -> tuple[Any, list[Emitted], dict[str, Weight]]:
    """The module of the graphs' functions, how each was emitted, and the weights that they read, by name.

    Operators that have no kernel of ours are in TensorIR already. Raises `UnsupportedError`.
    """
    builder, weights, kernels = relax.BlockBuilder(), dict[str, Weight](), dict[object, Any]()
    emitted = [emit_function(builder, graph, cpu, weights, kernels) for graph in graphs]
    return relax.transform.LegalizeOps(skip_ops=list(VIEWS))(builder.finalize()), emitted, weights


def lower(libraries: Sequence[Sequence[Graph]], cpu: Cpu) -> Lowered:
    """Compiles libraries with one step function a graph, named as it; all share the weights.

    Each workspace function takes all dimensions of its library's graphs, sorted by name.
    """
    target = llvm_target(cpu)
    module, emitted, weights = relax_module([graph for graphs in libraries for graph in graphs], cpu)
    functions = {name.name_hint: function for name, function in module.functions_items()}
    stored = [*weights.values(), *constant_weights([functions[each.name] for each in emitted]).values()]
    layout = plan_weights(stored)
    offsets = {name: place.offset for name, place in layout.places.items()}
    code = {tvm.ir.GlobalVar(n): f for n, f in functions.items() if isinstance(f, tirx.PrimFunc)}
    flat = flatten(schedule_tail(tvm.IRModule(code)), target)
    kernels = {name.name_hint: split_kernel(name.name_hint, f) for name, f in flat.functions_items()}
    by_name = {each.name: each for each in emitted}
    compiled: list[Any] = []
    for graphs in libraries:
        steps = StepFunctions(target, layout.size)
        dimensions = sorted({symbol for graph in graphs for symbol in graph.symbols})
        for each in (by_name[graph.name] for graph in graphs):
            steps.add(Linearizer(each, functions[each.name], kernels, offsets).schedule(dimensions))
        compiled.append(build_library(tvm.IRModule(steps.steps), tvm.IRModule(steps.stages), target))
    return Lowered(compiled, stored, layout)
