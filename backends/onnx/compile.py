"""Writes artifacts: a lowered program in, a folder out that the runtime loads."""

from __future__ import annotations

from pathlib import Path

from graphwright.backends.artifact import WEIGHTS_FILE, commit_artifact, program_info
from graphwright.backends.interface import Companions
from graphwright.backends.lowered_text import lowered_text, stored_weights
from graphwright.backends.onnx.model_file import ENCODER_FILE, MODEL_FILE, model_files, write_models
from graphwright.ir.program import Program
from graphwright.ir.weights import remembering_quantized
from graphwright.runtime.artifact import LOWERED_FILE, ArtifactWriter, Manifest


def build_artifact(program: Program, folder: str | Path, companions: Companions, *, dialect: str) -> Manifest:
    """Writes the artifact of a program that is lowered to `dialect`; see `Backend.build`."""
    with ArtifactWriter(folder) as writer:
        contrib = dialect == "ort"
        weights = write_models(model_files(program), program.name, writer.folder, WEIGHTS_FILE, contrib=contrib)
        with remembering_quantized():
            writer.add_text(LOWERED_FILE, lowered_text(program, stored_weights(weights, WEIGHTS_FILE)))
        info = program_info(program, backend="onnx", dialect=dialect, file=MODEL_FILE, encoder_file=ENCODER_FILE)
        return commit_artifact(writer, program, companions, info)
