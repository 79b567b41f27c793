"""Writes artifacts: a program in, a folder out with a library of machine code that the runtime loads."""

from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from graphwright.backends.artifact import (
    WEIGHTS_FILE,
    commit_artifact,
    dimension_names,
    main_graph,
    named_sizes,
    program_info,
)
from graphwright.backends.interface import NO_COMPANIONS, Companions
from graphwright.backends.lowered_text import lowered_text, stored_weights, with_unpacked
from graphwright.backends.plan import print_plans
from graphwright.backends.tvm.cpu import Cpu, host_cpu
from graphwright.backends.tvm.library.layouts import LAYOUTS
from graphwright.backends.tvm.linking import write_library
from graphwright.backends.tvm.lower import build_steps, plan_for_cpus, plan_graphs
from graphwright.backends.tvm.targets import NATIVE, CpuTarget, find_target
from graphwright.backends.weights_file import write_weights
from graphwright.ir.convention import ENCODE, fixed_sizes, is_decoder, step_graphs
from graphwright.ir.graph import Graph
from graphwright.ir.program import Program
from graphwright.ir.weights import remembering_quantized
from graphwright.runtime.artifact import LOWERED_FILE, PLAN_FILE, Alternative, ArtifactWriter, FunctionSpec, Manifest

LIBRARY_FILE = "program.so"
ENCODER_FILE = "encoder.so"


def build_artifact(
    program: Program,
    folder: str | Path,
    companions: Companions = NO_COMPANIONS,
    *,
    targets: Sequence[CpuTarget] | None = None,
    profiled: bool = False,
) -> Manifest:
    """Writes the artifact of a lowered program, of which each graph becomes a function as it stands.

    `targets` are what the code is for, by default this machine: each becomes libraries of its own over the same
    weights. Of a `profiled` one threads note when they come to each stage of a step. See `Backend.build`.
    """
    targets = sorted(targets or [find_target(NATIVE)], key=lambda each: len(each.cpu.required), reverse=True)
    program = program.clone()
    graph, encoder = main_graph(program), program.graphs.get(ENCODE)
    steps = _most_special_first(step_graphs(program), graph) if is_decoder(program) else [graph]
    libraries = {LIBRARY_FILE: steps} if encoder is None else {LIBRARY_FILE: steps, ENCODER_FILE: [encoder]}
    all_graphs = [graph for graphs in libraries.values() for graph in graphs]
    planned = plan_for_cpus(all_graphs, [each.cpu for each in targets], ahead=True)
    best, *others = (_alternative(each, targets, encoded=encoder is not None) for each in targets)
    info = program_info(
        program,
        backend="tvm",
        weights=WEIGHTS_FILE,
        alternatives=tuple(others),
        functions=tuple(FunctionSpec(name=step.name, fixed=named_sizes(fixed_sizes(step, graph))) for step in steps),
        dimensions=dimension_names(graph),
        **best.model_dump(),
    )
    with ExitStack() as stack, ArtifactWriter(folder) as writer:
        for each in planned:
            stack.enter_context(closing(each.kernels))
        # Kernels are compiled in the background while weights are written.
        with remembering_quantized():
            write_weights(writer.folder / WEIGHTS_FILE, planned[0].weights, planned[0].layout)
            stored = stored_weights(planned[0].weights, WEIGHTS_FILE)
            writer.add_text(LOWERED_FILE, lowered_text(program, with_unpacked(program, stored, LAYOUTS)))
            writer.add_text(PLAN_FILE, print_plans(planned[0].plans.values()))
        for target, each in zip(targets, planned, strict=True):
            for name, graphs in libraries.items():
                library = build_steps(each, graphs, profiled=profiled)
                write_library(library, writer.folder / _library_file(name, target, targets))
        return commit_artifact(writer, program, companions, info)


def _library_file(name: str, target: CpuTarget, targets: Sequence[CpuTarget]) -> str:
    """The file of a target's library, whose name says for which of several it is."""
    return name if len(targets) == 1 else f"{Path(name).stem}.{target.name}.so"


def _alternative(target: CpuTarget, targets: Sequence[CpuTarget], *, encoded: bool) -> Alternative:
    return Alternative(
        target=target.name,
        dialect=target.cpu.name,
        file=_library_file(LIBRARY_FILE, target, targets),
        encoder_file=_library_file(ENCODER_FILE, target, targets) if encoded else None,
        cpu_features=target.cpu.required,
        untuned=target.untuned,
    )


def plan_text(program: Program, cpu: Cpu | None = None) -> str:
    """The launch plans of a lowered program's graphs as text, for a `cpu`, by default this machine's.

    Raises `UserError` (with what to do).
    """
    planned = plan_graphs([*program.graphs.values()], host_cpu() if cpu is None else cpu)
    return print_plans(planned.plans.values())


def _most_special_first(graphs: Sequence[Graph], general: Graph) -> list[Graph]:
    """As a call looks for the first function that takes its sizes; the general graph is the last."""
    return sorted(graphs, key=lambda graph: len(fixed_sizes(graph, general)), reverse=True)
