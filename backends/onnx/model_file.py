"""Writes ONNX models and, beside them, the one file that their large weights lie in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from graphwright.backends.onnx.lower import lower, place_weights
from graphwright.backends.weights_file import plan_weights, write_weights
from graphwright.ir.convention import ENCODE
from graphwright.ir.graph import Graph
from graphwright.ir.program import Program
from graphwright.ir.weights import Weight, remembering_quantized

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
