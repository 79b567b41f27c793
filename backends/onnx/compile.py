"""Writes artifacts: a program in, a folder out that the runtime loads."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from graphwright.backends.assets import GENERATION_FILE, asset_files
from graphwright.backends.lowered_text import lowered_text, stored_weights
from graphwright.backends.onnx.model_file import ENCODER_FILE, MODEL_FILE, model_files, write_models
from graphwright.backends.program_specs import cache_spec, is_recurrent, model_info, state_spec, tensor_spec
from graphwright.ir.convention import ENCODE, FORWARD, LOGITS, PREFILL, is_decoder, state_names
from graphwright.ir.graph import Graph
from graphwright.ir.program import Program
from graphwright.ir.weights import remembering_quantized
from graphwright.runtime.artifact import LOWERED_FILE, ArtifactWriter, EncoderSpec, Manifest
from graphwright.runtime.artifact import Program as ProgramInfo

WEIGHTS_FILE = "weights.safetensors"


def build_artifact(
    program: Program,
    folder: str | Path,
    *,
    dialect: str = "ort",
    assets: str | Path | None = None,
    generation: str | None = None,
) -> Manifest:
    """Writes the artifact of a lowered program: a decoder (graph `prefill`, maybe `encode` before it) or a function
    (graph `forward`).

    `dialect` is the one that it was lowered to. `assets` is the checkpoint folder whose tokenizer and configuration
    files go along; `generation` is what a decoder has for the folder's `generation_config.json`, where that is not
    enough. The program is left as it is; the folder appears whole or not at all. Raises `UserError` (with what to do)
    and the runtime's `ArtifactError`.
    """
    graph, encoder = program.graphs[PREFILL if is_decoder(program) else FORWARD], program.graphs.get(ENCODE)
    files = model_files(program)
    with ArtifactWriter(folder) as writer:
        weights = write_models(files, program.name, writer.folder, WEIGHTS_FILE, contrib=dialect == "ort")
        with remembering_quantized():
            writer.add_text(LOWERED_FILE, lowered_text(program, stored_weights(weights, WEIGHTS_FILE)))
        for source in asset_files(assets):
            writer.add_copy(source)
        if generation is not None and graph.name != FORWARD:
            writer.add_text(GENERATION_FILE, generation)
        return writer.commit(
            producer=f"graphwright {version('graphwright')}",
            model=model_info(program, graph),
            program=_program_info(graph, encoder, dialect),
        )


def _program_info(graph: Graph, encoder: Graph | None, dialect: str) -> ProgramInfo:
    kept = state_names(graph)
    pairs = [(name, output, graph.input(name)) for name, output in kept.items()]
    return ProgramInfo(
        kind="decoder" if LOGITS in graph.outputs and graph.name != FORWARD else "function",
        backend="onnx",
        dialect=dialect,
        file=MODEL_FILE,
        inputs={str(v.name): tensor_spec(str(v.name), v) for v in graph.inputs if v.name not in kept},
        outputs={name: tensor_spec(name, v) for name, v in graph.outputs.items() if name not in kept.values()},
        cache=tuple(cache_spec(*pair) for pair in pairs if not is_recurrent(pair[2])),
        states=tuple(state_spec(*pair) for pair in pairs if is_recurrent(pair[2])),
        encoder=None if encoder is None else _encoder(encoder),
    )


def _encoder(graph: Graph) -> EncoderSpec:
    return EncoderSpec(
        file=ENCODER_FILE,
        inputs={str(v.name): tensor_spec(str(v.name), v) for v in graph.inputs},
        outputs={name: tensor_spec(name, v) for name, v in graph.outputs.items()},
    )
