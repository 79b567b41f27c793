"""`graphwright export`: ONNX for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from graphwright.cli.arguments import AssetsOption, DTypeOption, MaxContextOption, ModelArgument, PipelineOption
from graphwright.cli.output import console, stage_display


def export_command(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    layout: Annotated[str, typer.Option(help="plain, genai (onnxruntime-genai) or optimum (Hugging Face).")] = "plain",
    dialect: Annotated[
        str, typer.Option(help="portable: standard ONNX only; ort: ONNX Runtime's own operators.")
    ] = "portable",
    pipeline: PipelineOption = None,
    dtype: DTypeOption = None,
    max_context: MaxContextOption = None,
    assets: AssetsOption = None,
) -> None:
    """Write MODEL as ONNX into a folder for another runtime."""
    from graphwright.api import export

    with stage_display() as on_stage:
        export(
            model,
            output,
            layout=layout,
            dialect=dialect,
            pipeline=pipeline,
            dtype=dtype,
            max_context=max_context,
            assets=assets,
            on_stage=on_stage,
        )
    console().print(f"exported to {output}: {', '.join(sorted(p.name for p in output.iterdir()))}", markup=False)
