"""`graphwright quantize`: a model in few bits, and what that costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphwright.cli import arguments
from graphwright.cli.output import console, stage_display
from graphwright.cli.quantization import print_quantization, read_quantization
from graphwright.errors import OptionError

if TYPE_CHECKING:
    from graphwright.compiling.compiler import Prepared


def quantize_command(
    model: arguments.ModelArgument,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .gw file for `compile`, or a folder for the artifact.")
    ],
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="SCHEME", help=f"{arguments.SCHEMES}."),
    ] = None,
    calibration: arguments.CalibrationOption = None,
    calibration_rows: arguments.CalibrationRowsOption = None,
    calibration_length: arguments.CalibrationLengthOption = None,
    work: arguments.WorkOption = None,
    max_kl: arguments.MaxKLOption = None,
    bits: arguments.BitsOption = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Measure the KL divergence after every lossy step.")
    ] = True,
    pipeline: arguments.PipelineOption = None,
    dtype: arguments.DTypeOption = None,
    logits: arguments.LogitsOption = None,
    max_context: arguments.MaxContextOption = None,
    assets: arguments.AssetsOption = None,
    adapter: arguments.AdapterOption = None,
    ignore_remote_code: arguments.IgnoreRemoteCodeOption = False,
) -> None:
    """Quantize MODEL: run the passes of its pipeline, then those of the scheme.

    A scheme names weights, activations, group, method and cache: w4a8-g128-gptq+kv8. A table shows how each step
    changes the size and the predictions: KL is the divergence from the float model on text that the float model
    generated. With --max-kl or --bits instead of --to, the format of each layer is chosen.
    """
    quantization = read_quantization(to, calibration, calibration_rows, calibration_length, work, max_kl, bits)
    if quantization is None:
        raise OptionError("there is no scheme to quantize to: give --to SCHEME, as in --to w4a16-g128")
    from graphwright.compiling.compiler import Options, prepared_with_assets
    from graphwright.compiling.report import Stopwatch
    from graphwright.files.output_paths import require_file, require_folder
    from graphwright.runtime.artifact import is_artifact
    from graphwright.sources.models import ModelOptions, resolve

    if output.suffix == ".gw":
        require_file(output, (".gw",), "a program's file")
    else:
        require_folder(output, is_artifact, "a .gw file or a folder")
    options = Options(pipeline=pipeline, dtype=dtype, max_context=max_context, assets=assets, quantization=quantization)
    options.check()
    source = resolve(model, ModelOptions(ignore_remote_code, logits, adapter))
    with stage_display() as on_stage:
        stopwatch = Stopwatch(on_stage)
        with prepared_with_assets(source, options, stopwatch, measure=measure) as prepared, stopwatch.stage("write"):
            _write(prepared, output)
    assert prepared.quantization is not None, "it was asked for"
    print_quantization(prepared.quantization)
    folder = assets or source.assets
    if output.suffix != ".gw":
        following = f"graphwright generate {output} 'Once upon a time'"
    elif assets is None and source.kept is not None:
        # No folder on the disk has both the adapter's tokenizer and the settings of its base.
        asked = _requested(to, calibration, max_kl, bits)
        following = f"graphwright compile {model} --adapter {adapter} {asked} -o out/{output.stem}"
    else:
        following = f"graphwright compile {output} -o out/{output.stem}{f' --assets {folder}' if folder else ''}"
    console().print(f"next: {following}", markup=False)


def _requested(scheme: str | None, calibration: str | None, max_kl: float | None, bits: float | None) -> str:
    """The options of `compile` that ask for this quantization."""
    named = (("--quantize", scheme), ("--calibration", calibration), ("--max-kl", max_kl), ("--bits", bits))
    return " ".join(f"{name} {value}" for name, value in named if value is not None)


def _write(prepared: "Prepared", output: Path) -> None:
    if output.suffix == ".gw":
        from graphwright.files.programs import write_program

        write_program(prepared.program, output)
        return
    from graphwright.backends.interface import Companions
    from graphwright.compiling.lowering import build_artifact

    build_artifact(prepared.program, output, companions=Companions(prepared.assets, prepared.generation_text))
