"""Writes a program as ONNX for runtimes other than ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from graphwright.backends.assets import asset_files
from graphwright.backends.onnx.compile import MODEL_FILE, model_files, write_models
from graphwright.backends.onnx.export.genai import CONFIG_FILE, genai_config
from graphwright.backends.onnx.export.readme import README_FILE, interface_note
from graphwright.ir.convention import ENCODE, PREFILL, is_decoder
from graphwright.ir.errors import UserError
from graphwright.ir.files import TABLES, read_bytes
from graphwright.ir.program import Program
from graphwright.runtime.artifact import AtomicFolder

Layout = Literal["plain", "genai", "optimum"]
LAYOUTS: tuple[str, ...] = get_args(Layout)

DATA_FILE = "model.onnx.data"


def require_assets(layout: str, assets: str | Path | None) -> None:
    """Raises `UserError` where a layout needs the checkpoint's files and no folder of assets is given."""
    if layout != "plain" and assets is None:
        raise UserError(f"the {layout} layout needs the checkpoint's tokenizer and configuration: name its folder")


def check_layout(program: Program, layout: str, assets: str | Path | None) -> None:
    """Raises `UserError` for a layout that does not exist, cannot hold the program, or lacks its assets."""
    if layout not in LAYOUTS:
        raise UserError(f"layout is '{layout}'; it must be one of {', '.join(LAYOUTS)}")
    if layout == "plain":
        return
    if not is_decoder(program):
        raise UserError(f"the {layout} layout takes language models only; '{program.name}' has no graph '{PREFILL}'")
    if ENCODE in program.graphs:
        raise UserError(f"the {layout} layout takes decoders alone; '{program.name}' has an encoder before it")
    require_assets(layout, assets)


def layout_texts(program: Program, layout: str, defaults: Mapping[str, Any]) -> dict[str, str]:
    """The texts by file that a layout has of a decoder, which is not lowered yet. `defaults` are the options that it
    generates with. Raises `UnsupportedError` for a decoder that the layout cannot describe."""
    if layout != "genai":
        return {}
    return {CONFIG_FILE: genai_config(program, program.graphs[PREFILL], MODEL_FILE, defaults)}


def export_folder(
    program: Program,
    folder: str | Path,
    *,
    layout: str,
    dialect: str,
    texts: Mapping[str, str],
    assets: str | Path | None = None,
) -> None:
    """Writes `model.onnx`, its data and what goes with them into a new folder, which appears whole or not at all.

    A model with a context has `encoder.onnx` too, which the `plain` layout alone can hold.

    The program is lowered to the dialect, with the inputs and outputs of the layout: `plain` has those of our own
    decoders (or of the function), explained in README.txt; `genai` is loaded by onnxruntime-genai, `optimum` by Hugging
    Face optimum's ORTModelForCausalLM. `assets` is the checkpoint's folder, for tokenizer and configuration. `texts`
    are written by their names. Raises `UserError` and the runtime's `ArtifactError`.
    """
    files = asset_files(assets)
    models = model_files(program)
    title = f"{program.name}: ONNX model, {dialect} dialect, {layout} layout"
    note = interface_note(models[MODEL_FILE], title, program.graphs.get(ENCODE))
    with AtomicFolder(folder) as target_folder:
        write_models(models, program.name, target_folder.path, DATA_FILE, contrib=dialect != "portable")
        for file in files:
            (target_folder.path / file.name).write_bytes(read_bytes(file, TABLES))
        for name, text in {**texts, README_FILE: note}.items():
            (target_folder.path / name).write_text(text, encoding="utf-8")
        target_folder.commit()
