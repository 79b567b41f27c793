"""Writes artifacts: a program in, a folder out with a library of machine code that the runtime loads."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from graphwright.backends.assets import GENERATION_FILE, asset_files
from graphwright.backends.lowered_text import lowered_text, stored_weights
from graphwright.backends.plan import print_plans
from graphwright.backends.program_specs import (
    DIMENSION_NAMES,
    cache_spec,
    is_recurrent,
    model_info,
    state_spec,
    tensor_spec,
)
from graphwright.backends.tvm.cpu import Cpu, host_cpu
from graphwright.backends.tvm.linking import write_library
from graphwright.backends.tvm.lower import build_steps, plan_graphs
from graphwright.backends.tvm.unpacked import with_unpacked
from graphwright.backends.weights_file import write_weights
from graphwright.ir.convention import (
    ENCODE,
    FORWARD,
    PREFILL,
    fixed_sizes,
    is_decoder,
    state_names,
    step_graphs,
)
from graphwright.ir.graph import Graph
from graphwright.ir.program import Program
from graphwright.ir.weights import remembering_quantized
from graphwright.runtime.artifact import LOWERED_FILE, PLAN_FILE, ArtifactWriter, EncoderSpec, FunctionSpec, Manifest
from graphwright.runtime.artifact import Program as ProgramInfo

LIBRARY_FILE = "program.so"
ENCODER_FILE = "encoder.so"
WEIGHTS_FILE = "weights.safetensors"


def build_artifact(
    program: Program,
    folder: str | Path,
    *,
    assets: str | Path | None = None,
    generation: str | None = None,
    cpu: Cpu | None = None,
) -> Manifest:
    """Writes the artifact of a program: a decoder (graph `prefill`, maybe other phases of it and `encode` before it) or
    a function (graph `forward`). Each graph becomes a function as it stands.

    `cpu` is what the code is for, by default this machine's. `assets` is the checkpoint folder whose tokenizer and
    configuration files go along; `generation` is what a decoder has for the folder's `generation_config.json`, where
    that is not enough. The program is left as it is; the folder appears whole or not at all. Raises
    `UserError` (with what to do) and the runtime's `ArtifactError`.
    """
    cpu = host_cpu() if cpu is None else cpu
    program = program.clone()
    decodes = is_decoder(program)
    graph, encoder = program.graphs[PREFILL if decodes else FORWARD], program.graphs.get(ENCODE)
    steps = _most_special_first(step_graphs(program), graph) if decodes else [graph]
    libraries = {LIBRARY_FILE: steps} if encoder is None else {LIBRARY_FILE: steps, ENCODER_FILE: [encoder]}
    planned = plan_graphs([graph for graphs in libraries.values() for graph in graphs], cpu)
    with ArtifactWriter(folder) as writer:
        for file, graphs in libraries.items():
            write_library(build_steps(planned, graphs, cpu), writer.folder / file)
        with remembering_quantized():
            write_weights(writer.folder / WEIGHTS_FILE, planned.weights, planned.layout)
            stored = stored_weights(planned.weights, WEIGHTS_FILE)
            writer.add_text(LOWERED_FILE, lowered_text(program, with_unpacked(program, stored)))
            writer.add_text(PLAN_FILE, print_plans(planned.plans.values()))
        for source in asset_files(assets):
            writer.add_copy(source)
        if generation is not None and decodes:
            writer.add_text(GENERATION_FILE, generation)
        return writer.commit(
            producer=f"graphwright {version('graphwright')}",
            model=model_info(program, graph),
            program=_program_info(graph, steps, encoder, cpu),
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


def _program_info(graph: Graph, steps: Sequence[Graph], encoder: Graph | None, cpu: Cpu) -> ProgramInfo:
    kept = state_names(graph)
    pairs = [(name, output, graph.input(name)) for name, output in kept.items()]
    return ProgramInfo(
        kind="function" if graph.name == FORWARD else "decoder",
        backend="tvm",
        dialect=cpu.name,
        file=LIBRARY_FILE,
        weights=WEIGHTS_FILE,
        cpu_features=cpu.required,
        inputs={str(v.name): tensor_spec(str(v.name), v) for v in graph.inputs if v.name not in kept},
        outputs={name: tensor_spec(name, v) for name, v in graph.outputs.items() if name not in kept.values()},
        cache=tuple(cache_spec(*pair) for pair in pairs if not is_recurrent(pair[2])),
        states=tuple(state_spec(*pair) for pair in pairs if is_recurrent(pair[2])),
        encoder=None if encoder is None else _encoder(encoder),
        functions=tuple(FunctionSpec(name=step.name, fixed=_named(fixed_sizes(step, graph))) for step in steps),
        dimensions=tuple(DIMENSION_NAMES.get(symbol, symbol) for symbol in dimensions(graph)),
    )


def dimensions(graph: Graph) -> Sequence[str]:
    """The symbols of a graph's inputs, in the order in which its workspace function takes them."""
    return sorted(graph.symbols)


def _named(sizes: dict[str, int]) -> dict[str, int]:
    return {DIMENSION_NAMES.get(symbol, symbol): size for symbol, size in sizes.items()}


def _encoder(graph: Graph) -> EncoderSpec:
    assert graph.name == ENCODE
    return EncoderSpec(
        file=ENCODER_FILE,
        inputs={str(v.name): tensor_spec(str(v.name), v) for v in graph.inputs},
        outputs={name: tensor_spec(name, v) for name, v in graph.outputs.items()},
        dimensions=tuple(DIMENSION_NAMES.get(symbol, symbol) for symbol in dimensions(graph)),
    )
