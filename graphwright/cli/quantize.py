"""`graphwright quantize`: a model in few bits, and what that costs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphwright.cli.arguments import (
    AdapterOption,
    AssetsOption,
    BitsOption,
    CalibrationLengthOption,
    CalibrationOption,
    CalibrationRowsOption,
    DTypeOption,
    IgnoreRemoteCodeOption,
    LogitsOption,
    MaxContextOption,
    MaxKLOption,
    ModelArgument,
    PipelineOption,
    WorkOption,
)
from graphwright.cli.output import console, stage_display
from graphwright.cli.quantization import print_quantization, read_quantization
from graphwright.errors import OptionError

if TYPE_CHECKING:
    from graphwright.compiling.compiler import Prepared


def quantize_command(
    model: ModelArgument,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .gw file, which `compile` takes; or a folder for the artifact.")
    ],
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="SCHEME", help="As w4a16-g128, w4a8-g32-gptq, w8, w8a8, w4a8-g128+kv8."),
    ] = None,
    calibration: CalibrationOption = None,
    calibration_rows: CalibrationRowsOption = None,
    calibration_length: CalibrationLengthOption = None,
    work: WorkOption = None,
    max_kl: MaxKLOption = None,
    bits: BitsOption = None,
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Measure the KL divergence after every lossy step.")
    ] = True,
    pipeline: PipelineOption = None,
    dtype: DTypeOption = None,
    logits: LogitsOption = None,
    max_context: MaxContextOption = None,
    assets: AssetsOption = None,
    adapter: AdapterOption = None,
    ignore_remote_code: IgnoreRemoteCodeOption = False,
) -> None:
    """Store MODEL in few bits: run the passes of its pipeline, then those of the scheme.

    A scheme names weights, activations, group and method, and the cache: w4a8-g128-gptq+kv8. A table says of each step
    what it does to size and answers: the model writes some text beforehand, and KL is how far its predictions there
    have moved since. With --max-kl or --bits instead of --to, formats are chosen layer by layer.
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
        asked = _asked(to, calibration, max_kl, bits)
        following = f"graphwright compile {model} --adapter {adapter} {asked} -o out/{output.stem}"
    else:
        following = f"graphwright compile {output} -o out/{output.stem}{f' --assets {folder}' if folder else ''}"
    console().print(f"next: {following}", markup=False)


def _asked(scheme: str | None, calibration: str | None, max_kl: float | None, bits: float | None) -> str:
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
