"""Writes `model.onnx` and, beside it, the file that its large weights lie in."""

from __future__ import annotations

from pathlib import Path

from graphwright.backends.onnx.lower import lower, place_weights
from graphwright.backends.onnx.weights_file import plan_weights, write_weights
from graphwright.ir.graph import Graph
from graphwright.ir.weights import Weight

MODEL_FILE = "model.onnx"


def write_model(graph: Graph, name: str, folder: Path, weights_file: str, *, contrib: bool) -> list[Weight]:
    """Lowers a legalized graph into the folder; returns the weights that the file of that name has by their names."""
    lowered = lower(graph, name, contrib=contrib)
    layout = plan_weights(lowered.external)
    place_weights(lowered, layout, weights_file)
    write_weights(folder / weights_file, lowered.external, layout)
    (folder / MODEL_FILE).write_bytes(lowered.model.SerializeToString())
    return [weight for weight in lowered.external if weight.name not in layout.parts]
