"""`graphwright export`: ONNX for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

from graphwright.cli import arguments
from graphwright.cli.output import console, stage_display
from graphwright.cli.quantization import read_quantization


def export_command(
    model: arguments.ModelArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")],
    layout: Annotated[
        str,
        typer.Option(metavar="plain|genai|optimum", help="For which runtime."),
    ] = "plain",
    dialect: Annotated[
        str,
        typer.Option(metavar="portable|ort", help="portable: standard ONNX; ort: ONNX Runtime's own operators."),
    ] = "portable",
    pipeline: arguments.PipelineOption = None,
    dtype: arguments.DTypeOption = None,
    logits: arguments.LogitsOption = None,
    max_context: arguments.MaxContextOption = None,
    assets: arguments.AssetsOption = None,
    adapter: arguments.AdapterOption = None,
    ignore_remote_code: arguments.IgnoreRemoteCodeOption = False,
    quantize: arguments.QuantizeOption = None,
    calibration: arguments.CalibrationOption = None,
    calibration_rows: arguments.CalibrationRowsOption = None,
    calibration_length: arguments.CalibrationLengthOption = None,
    work: arguments.WorkOption = None,
    max_kl: arguments.MaxKLOption = None,
    bits: arguments.BitsOption = None,
) -> None:
    """Export MODEL as ONNX for another runtime."""
    from graphwright.api import export

    quantization = read_quantization(quantize, calibration, calibration_rows, calibration_length, work, max_kl, bits)
    with stage_display() as on_stage:
        export(
            model,
            output,
            layout=layout,
            dialect=dialect,
            pipeline=pipeline,
            dtype=dtype,
            logits=logits,
            max_context=max_context,
            assets=assets,
            adapter=adapter,
            ignore_remote_code=ignore_remote_code,
            quantize=quantization,
            on_stage=on_stage,
        )
    console().print(f"exported to {output}: {', '.join(sorted(p.name for p in output.iterdir()))}", markup=False)
