"""Writes artifacts: a program in, a folder out with a library of machine code that the runtime loads."""

from collections.abc import Sequence
from contextlib import closing
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
from graphwright.backends.tvm.lower import build_steps, plan_graphs
from graphwright.backends.weights_file import write_weights
from graphwright.ir.convention import ENCODE, fixed_sizes, is_decoder, step_graphs
from graphwright.ir.graph import Graph
from graphwright.ir.program import Program
from graphwright.ir.weights import remembering_quantized
from graphwright.runtime.artifact import LOWERED_FILE, PLAN_FILE, ArtifactWriter, FunctionSpec, Manifest

LIBRARY_FILE = "program.so"
ENCODER_FILE = "encoder.so"


def build_artifact(
    program: Program,
    folder: str | Path,
    companions: Companions = NO_COMPANIONS,
    *,
    cpu: Cpu | None = None,
    profiled: bool = False,
) -> Manifest:
    """Writes the artifact of a lowered program, of which each graph becomes a function as it stands.

    `cpu` is what the code is for, by default this machine's. Of a `profiled` one threads note when they come to each
    stage of a step. See `Backend.build`.
    """
    cpu = host_cpu() if cpu is None else cpu
    program = program.clone()
    graph, encoder = main_graph(program), program.graphs.get(ENCODE)
    steps = _most_special_first(step_graphs(program), graph) if is_decoder(program) else [graph]
    libraries = {LIBRARY_FILE: steps} if encoder is None else {LIBRARY_FILE: steps, ENCODER_FILE: [encoder]}
    planned = plan_graphs([graph for graphs in libraries.values() for graph in graphs], cpu, ahead=True)
    info = program_info(
        program,
        backend="tvm",
        dialect=cpu.name,
        file=LIBRARY_FILE,
        encoder_file=ENCODER_FILE,
        weights=WEIGHTS_FILE,
        cpu_features=cpu.required,
        functions=tuple(FunctionSpec(name=step.name, fixed=named_sizes(fixed_sizes(step, graph))) for step in steps),
        dimensions=dimension_names(graph),
    )
    with closing(planned.kernels), ArtifactWriter(folder) as writer:
        # Kernels are compiled in the background while weights are written.
        with remembering_quantized():
            write_weights(writer.folder / WEIGHTS_FILE, planned.weights, planned.layout)
            stored = stored_weights(planned.weights, WEIGHTS_FILE)
            writer.add_text(LOWERED_FILE, lowered_text(program, with_unpacked(program, stored, LAYOUTS)))
            writer.add_text(PLAN_FILE, print_plans(planned.plans.values()))
        for file, graphs in libraries.items():
            write_library(build_steps(planned, graphs, profiled=profiled), writer.folder / file)
        return commit_artifact(writer, program, companions, info)


def plan_text(program: Program, cpu: Cpu | None = None) -> str:
    """The launch plans of a lowered program's graphs as text, for a `cpu`, by default this machine's.

    Raises `UserError` (with what to do).
    """
    planned = plan_graphs([*program.graphs.values()], host_cpu() if cpu is None else cpu)
    return print_plans(planned.plans.values())


def _most_special_first(graphs: Sequence[Graph], general: Graph) -> list[Graph]:
    """As a call looks for the first function that takes its sizes; the general graph is the last."""
    return sorted(graphs, key=lambda graph: len(fixed_sizes(graph, general)), reverse=True)
