"""`graphwright compile`: a model into an artifact."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphwright.cli import arguments
from graphwright.cli.backend_options import BackendOption, TargetOption, with_backend_options
from graphwright.cli.output import console, count_text, size_text, stage_display
from graphwright.cli.quantization import read_quantization, summary

if TYPE_CHECKING:
    from graphwright.compiling.report import CompilationReport


@with_backend_options
def compile_command(
    model: arguments.ModelArgument,
    output: Annotated[Path, typer.Option("-o", "--output", help="The artifact's folder; an artifact is replaced.")],
    backend: BackendOption = None,
    target: TargetOption = "cpu",
    pipeline: arguments.PipelineOption = None,
    dtype: arguments.DTypeOption = None,
    logits: arguments.LogitsOption = None,
    max_context: arguments.MaxContextOption = None,
    assets: arguments.AssetsOption = None,
    adapter: arguments.AdapterOption = None,
    ignore_remote_code: arguments.IgnoreRemoteCodeOption = False,
    weights: arguments.WeightsOption = "stored",
    cache_layout: Annotated[
        str,
        typer.Option(
            "--cache-layout", metavar="contiguous|ring", help="ring: sliding-window attention caches only its window."
        ),
    ] = "contiguous",
    function: Annotated[
        bool, typer.Option("--function", help="Compile a function without a KV cache, for models that do not generate.")
    ] = False,
    quantize: arguments.QuantizeOption = None,
    calibration: arguments.CalibrationOption = None,
    calibration_rows: arguments.CalibrationRowsOption = None,
    calibration_length: arguments.CalibrationLengthOption = None,
    work: arguments.WorkOption = None,
    max_kl: arguments.MaxKLOption = None,
    bits: arguments.BitsOption = None,
    **backend_options: object,
) -> None:
    """Compile MODEL into an artifact folder.

    A language model (token ids to logits, with or without an encoder) gets a KV cache, and `graphwright generate` runs
    it. Any other model, and with --function also a language model, becomes a function that graphwright.load_function
    loads in Python.

    --quantize stores the model in few bits; `graphwright quantize` reports what that costs.
    """
    from graphwright.compiling.compiler import Options, build_once, check_request
    from graphwright.sources.models import CONFIG_FILE, ModelOptions, resolve

    kind = "function" if function else "auto"
    quantization = read_quantization(quantize, calibration, calibration_rows, calibration_length, work, max_kl, bits)
    options = Options(
        backend or "", target, pipeline, dtype, max_context, assets, kind, cache_layout, quantization, backend_options
    )
    model_options = ModelOptions(ignore_remote_code, logits, adapter, weights)
    check_request(options, output)
    if weights == "seed" and Path(model).name == CONFIG_FILE:
        model = str(Path(model).parent)
    with stage_display() as on_stage:
        report = build_once(resolve(model, model_options), output, options, on_stage)
    _print_summary(report)


def _print_summary(report: "CompilationReport") -> None:
    from graphwright.runtime import KVCache

    manifest = report.manifest
    out = console()
    stages = ", ".join(f"{stage.name} {stage.seconds:.1f} s" for stage in report.stages)
    size = sum(entry.size for entry in manifest.files.values())
    out.print(f"compiled {manifest.model.name} to {report.folder} in {report.seconds:.1f} s ({stages})", markup=False)
    architecture = manifest.model.architecture or "unnamed architecture"
    out.print(f"model    {architecture}, {count_text(manifest.model.parameters)} parameters, {size_text(size)} on disk")
    for version in manifest.program.versions if manifest.program.target else ():
        untuned = ", untuned: nobody has measured it" if version.untuned else ""
        out.print(f"cpu      {version.target}: {version.file}{untuned}", markup=False)
    if report.quantization is not None:
        out.print(f"stored   {summary(report.quantization)}", markup=False)
    if manifest.program.kind == "decoder":
        context = manifest.model.context_length or 0
        empty, token, full = (KVCache.bytes_for(manifest, 1, tokens) for tokens in (0, 1, context))
        fixed = f" and {size_text(empty)}" if empty else ""
        out.print(
            f"cache    {size_text(token - empty)} a token{fixed}, {size_text(full)} for the context of {context} tokens"
        )
        encoder = manifest.program.encoder
        if encoder is None or encoder.takes_tokens:
            emulated = " --device emulator" if manifest.program.dialect == "emulated" else ""
            out.print(f"next     graphwright generate {report.folder} 'Once upon a time'{emulated}", markup=False)
        else:
            call = f"graphwright.load('{report.folder}').generate(context={encoder.context[0]})"
            out.print(f"next     in Python: {call}", markup=False)
    else:
        inputs = ", ".join(f"{name}=…" for name in manifest.program.inputs)
        out.print(f"next     in Python: graphwright.load_function('{report.folder}')({inputs})", markup=False)
