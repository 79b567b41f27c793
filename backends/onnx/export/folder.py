"""Writes a program as ONNX for runtimes other than ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from graphwright.backends.assets import GENERATION_FILE, asset_files
from graphwright.backends.decoder import decoder_graph, encoder_graph, function_graph
from graphwright.backends.onnx.export.genai import CONFIG_FILE, genai_config
from graphwright.backends.onnx.export.interface import hugging_face_interface
from graphwright.backends.onnx.export.readme import README_FILE, interface_note
from graphwright.backends.onnx.legalize import legalize
from graphwright.backends.onnx.model_file import ENCODER_FILE, MODEL_FILE, write_models
from graphwright.ir.convention import is_decoder
from graphwright.ir.dialects.ort.capabilities import select_target
from graphwright.ir.errors import UserError
from graphwright.ir.files import TABLES, read_bytes
from graphwright.ir.program import Program
from graphwright.ir.rewriting import Outcome
from graphwright.runtime.artifact import AtomicFolder

Layout = Literal["plain", "genai", "optimum"]
LAYOUTS: tuple[str, ...] = get_args(Layout)

DATA_FILE = "model.onnx.data"


def require_assets(layout: str, assets: str | Path | None) -> None:
    """Raises `UserError` where a layout needs the checkpoint's files and no folder of assets is given."""
    if layout != "plain" and assets is None:
        raise UserError(f"the {layout} layout needs the checkpoint's tokenizer and configuration: name its folder")


def export_folder(
    program: Program,
    folder: str | Path,
    *,
    layout: str = "plain",
    dialect: str = "ort",
    assets: str | Path | None = None,
    generation: str | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> Outcome:
    """Writes `model.onnx`, its data and what goes with them into a new folder, which appears whole or not at all.

    A model with a context has `encoder.onnx` too, which the `plain` layout alone can hold.

    `plain` has the inputs of our own decoders (or of the function), explained in README.txt. `genai` is loaded by
    onnxruntime-genai, `optimum` by Hugging Face optimum's ORTModelForCausalLM; both take decoders only and need
    `assets`, the checkpoint's folder, for tokenizer and configuration. `generation` is what a decoder has
    for the folder's `generation_config.json`, where that is not enough, and
    `defaults` are the options that it generates with. Returns what legalization did. Raises
    `UserError` and the runtime's `ArtifactError`.
    """
    if layout not in LAYOUTS:
        raise UserError(f"layout is '{layout}'; it must be one of {', '.join(LAYOUTS)}")
    target = select_target(dialect)
    files = asset_files(assets)
    program = program.clone()
    encoder = encoder_graph(program) if is_decoder(program) else None
    if layout == "plain":
        graph = decoder_graph(program) if is_decoder(program) else function_graph(program)
        texts = {}
    else:
        if not is_decoder(program):
            raise UserError(f"the {layout} layout takes language models only; '{program.name}' has no graph 'prefill'")
        if encoder is not None:
            raise UserError(f"the {layout} layout takes decoders alone; '{program.name}' has an encoder before it")
        require_assets(layout, assets)
        decoder = decoder_graph(program)
        texts = {CONFIG_FILE: genai_config(program, decoder, MODEL_FILE, defaults or {})} if layout == "genai" else {}
        whole = layout == "optimum"
        graph = hugging_face_interface(decoder, position_ids=whole, every_logit=whole, growing_cache=whole)
    title = f"{program.name}: ONNX model, {dialect} dialect, {layout} layout"
    if generation is not None and is_decoder(program):
        texts[GENERATION_FILE] = generation
    texts[README_FILE] = interface_note(graph, title, encoder)
    models = {MODEL_FILE: graph} if encoder is None else {ENCODER_FILE: encoder, MODEL_FILE: graph}
    program.graphs = {each.name: each for each in models.values()}
    outcome = Outcome()
    for each in models.values():
        outcome.merge(legalize(program, each, target))
    with AtomicFolder(folder) as target_folder:
        write_models(models, program.name, target_folder.path, DATA_FILE, contrib=dialect == "ort")
        for file in files:
            (target_folder.path / file.name).write_bytes(read_bytes(file, TABLES))
        for name, text in texts.items():
            (target_folder.path / name).write_text(text, encoding="utf-8")
        target_folder.commit()
    return outcome
