"""What all artifacts hold beside code and weights, whichever backend writes them."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from graphwright.backends.assets import GENERATION_FILE, asset_files
from graphwright.backends.interface import Companions
from graphwright.backends.lowered_text import lowered_text, stored_weights
from graphwright.backends.program_specs import (
    DIMENSION_NAMES,
    cache_spec,
    is_recurrent,
    model_info,
    state_spec,
    tensor_spec,
)
from graphwright.backends.weights_file import plan_weights, write_weights
from graphwright.ir.convention import ENCODE, FORWARD, PREFILL, is_decoder, state_names
from graphwright.ir.graph import Graph
from graphwright.ir.program import Program
from graphwright.runtime.artifact import LOWERED_FILE, ArtifactWriter, EncoderSpec, Manifest
from graphwright.runtime.artifact import Program as ProgramInfo

WEIGHTS_FILE = "weights.safetensors"


def main_graph(program: Program) -> Graph:
    """The graph whose inputs and outputs are the artifact's: `prefill` of a decoder, `forward` of a function."""
    return program.graphs[PREFILL if is_decoder(program) else FORWARD]


def commit_artifact(writer: ArtifactWriter, program: Program, companions: Companions, info: ProgramInfo) -> Manifest:
    """Adds what goes along with the model and ends the artifact."""
    for source in asset_files(companions.assets):
        writer.add_copy(source)
    if companions.generation is not None and is_decoder(program):
        writer.add_text(GENERATION_FILE, companions.generation)
    model = model_info(program, main_graph(program))
    return writer.commit(producer=f"graphwright {version('graphwright')}", model=model, program=info)


def program_info(
    program: Program, *, backend: str, dialect: str, file: str, encoder_file: str | None = None, **more: Any
) -> ProgramInfo:
    """What the manifest says of a program whose code is in `file`, and its encoder's in `encoder_file`.

    `more` are fields of the manifest that the backend alone knows.
    """
    graph, encoder = main_graph(program), program.graphs.get(ENCODE)
    kept = state_names(graph)
    pairs = [(name, output, graph.input(name)) for name, output in kept.items()]
    return ProgramInfo(
        kind="decoder" if is_decoder(program) else "function",
        backend=backend,
        dialect=dialect,
        file=file,
        inputs={str(v.name): tensor_spec(str(v.name), v) for v in graph.inputs if v.name not in kept},
        outputs={name: tensor_spec(name, v) for name, v in graph.outputs.items() if name not in kept.values()},
        cache=tuple(cache_spec(*pair) for pair in pairs if not is_recurrent(pair[2])),
        states=tuple(state_spec(*pair) for pair in pairs if is_recurrent(pair[2])),
        encoder=None if encoder is None else _encoder(encoder, encoder_file, more.get("dimensions") is not None),
        **more,
    )


def dimension_names(graph: Graph) -> tuple[str, ...]:
    """The symbols of a graph's inputs, sorted, as a manifest calls them."""
    return tuple(DIMENSION_NAMES.get(symbol, symbol) for symbol in sorted(graph.symbols))


def named_sizes(sizes: Mapping[str, int]) -> dict[str, int]:
    """Sizes of symbols by the names that a manifest has for these."""
    return {DIMENSION_NAMES.get(symbol, symbol): size for symbol, size in sizes.items()}


def _encoder(graph: Graph, file: str | None, dimensions: bool) -> EncoderSpec:
    assert file is not None, "a program with an encoder has a file for it"
    return EncoderSpec(
        file=file,
        inputs={str(v.name): tensor_spec(str(v.name), v) for v in graph.inputs},
        outputs={name: tensor_spec(name, v) for name, v in graph.outputs.items()},
        dimensions=dimension_names(graph) if dimensions else (),
    )


def add_program(writer: ArtifactWriter, program: Program) -> None:
    """Adds a lowered program as text, and all its weights as they are. Raises `UserError` for quantized ones."""
    weights = [*program.weights.values()]
    write_weights(writer.folder / WEIGHTS_FILE, weights, plan_weights(weights))
    writer.add_text(LOWERED_FILE, lowered_text(program, stored_weights(weights, WEIGHTS_FILE)))
