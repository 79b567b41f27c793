"""Writes artifacts: a lowered program in, a folder out that the runtime loads."""

from collections.abc import Mapping
from pathlib import Path

from graphwright.backends.artifact import WEIGHTS_FILE, commit_artifact, main_graph, program_info
from graphwright.backends.interface import Companions
from graphwright.backends.lowered_text import lowered_text, stored_weights
from graphwright.backends.onnx.lower import Lowered, lower, place_weights
from graphwright.backends.onnx.placement import predict
from graphwright.backends.weights_file import plan_weights, write_weights
from graphwright.ir.convention import ENCODE, is_decoder
from graphwright.ir.dialects.ort.group_query import group_query_attention
from graphwright.ir.graph import Graph
from graphwright.ir.program import Program
from graphwright.ir.weights import Weight, remembering_quantized
from graphwright.runtime.artifact import LOWERED_FILE, ArtifactWriter, Manifest

MODEL_FILE = "model.onnx"
ENCODER_FILE = "encoder.onnx"


def model_files(program: Program) -> dict[str, Graph]:
    """The graphs of a lowered program by the files that they are written to."""
    return {ENCODER_FILE if name == ENCODE else MODEL_FILE: graph for name, graph in program.graphs.items()}


def write_models(
    graphs: Mapping[str, Graph], name: str, folder: Path, weights_file: str, *, contrib: bool
) -> list[Weight]:
    """Writes lowered graphs of one program into the files of these names in the folder.

    A weight that several read is stored once. Returns the weights that `weights_file` has by their names.
    """
    with remembering_quantized():
        lowered = {file: lower(graph, name, contrib=contrib) for file, graph in graphs.items()}
        weights = list({weight.name: weight for model in lowered.values() for weight in model.external}.values())
        layout = plan_weights(weights)
        write_weights(folder / weights_file, weights, layout)
        for file, model in lowered.items():
            place_weights(model, layout, weights_file)
            (folder / file).write_bytes(model.model.SerializeToString())
        return [weight for weight in weights if weight.name not in layout.parts]


def _takes_rows_apart(program: Program) -> bool:
    """Whether steps of several tokens are for one row: GroupQueryAttention that is not told how many are real refuses
    more rows behind a past."""
    ops = (op for graph in program.graphs.values() for op in graph if op.definition is group_query_attention)
    return any(op.operand("query_length") is None for op in ops)


def _lowered_step(program: Program) -> Lowered:
    return lower(main_graph(program), program.name, contrib=True)


def build_artifact(program: Program, folder: str | Path, companions: Companions, *, dialect: str) -> Manifest:
    """Writes the artifact of a program that is lowered to `dialect`; see `Backend.build`."""
    with ArtifactWriter(folder) as writer:
        contrib = dialect != "portable"
        weights = write_models(model_files(program), program.name, writer.folder, WEIGHTS_FILE, contrib=contrib)
        with remembering_quantized():
            writer.add_text(LOWERED_FILE, lowered_text(program, stored_weights(weights, WEIGHTS_FILE)))
        files = {"file": MODEL_FILE, "encoder_file": ENCODER_FILE}
        recordable = dialect == "ort-cuda" and is_decoder(program) and predict(_lowered_step(program)).is_capturable
        apart = _takes_rows_apart(program)
        info = program_info(program, backend="onnx", dialect=dialect, **files, rows_apart=apart, recordable=recordable)
        return commit_artifact(writer, program, companions, info)
