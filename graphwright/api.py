"""The functions of the public face."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from graphwright.compiling.compiled import CompiledFunction, CompiledModel
from graphwright.compiling.compiler import Options, build, check_request, prepared_with_assets
from graphwright.compiling.compiler import capture as capture_source
from graphwright.compiling.report import Stopwatch
from graphwright.compiling.targets import check_choice, find_backend, find_pipeline, require_device
from graphwright.files.output_paths import require_folder
from graphwright.files.temporary_folders import TemporaryFolder
from graphwright.runtime.cores import check_threads
from graphwright.sources.models import ModelOptions, Source, resolve

if TYPE_CHECKING:
    from torch import nn

    from graphwright.backends.interface import Backend
    from graphwright.ir import DType, Program
    from graphwright.passes import Pass, Report
    from graphwright.quantizing.quantization import Quantization
    from graphwright.runtime.engines import EngineFactory
    from graphwright.runtime.token_rows import TokenSource

    ModelLike = nn.Module | Program | str | Path | Source
    from graphwright.frontend.inputs import Examples as ExampleInputs


def compile(
    model: ModelLike,
    *,
    output: str | Path | None = None,
    backend: str | Backend | None = None,
    target: str = "cpu",
    pipeline: str | Sequence[Pass] | None = None,
    dtype: DType | str | None = None,
    max_context: int | None = None,
    assets: str | Path | None = None,
    adapter: str | Path | None = None,
    ignore_remote_code: bool = False,
    cache_layout: Literal["contiguous", "ring"] = "contiguous",
    quantize: str | Quantization | None = None,
    calibration: TokenSource | None = None,
    logits: str | None = None,
    threads: int | None = None,
    on_stage: Callable[[str], object] | None = None,
    **backend_options: object,
) -> CompiledModel:
    """Compile a language model and load it.

    `model` is a torch.nn.Module from token ids, int64 [B, S], to logits [B, S, V], or an encoder-decoder of the
    transformers library; a path (a checkpoint directory, a `.gw` file, or `file.py:factory`); or a captured program. A
    module of your own that reads a context beside its `decoder_input_ids` is traced first, with examples of different
    lengths. The model itself is not changed.

    - `output`: where the artifact stays; by default a temporary folder that lives as long as the result
    - `backend`: `onnx`, for ONNX Runtime, `tvm`, machine code for this machine's CPU, `cuda`, machine code for GPUs, or
      a backend of your own; by default the one of the target's name, or the first of these that compiles for it
    - `target`: `cpu`, also with names of CPUs, as `cpu:v3,cpu:v4+vnni`, or `cuda` with architectures of GPUs, as
      `cuda:sm_90`; this machine must have one of them: `graphwright compile` writes artifacts for others
    - `pipeline`: a pipeline's name or passes; by default the target's, which for `cpu` computes in float32
    - `dtype`: capture the model as if converted to it (`bf16`, `f16`, `f32`); by default the checkpoint's own. With
      `bf16` the backend `tvm` also computes linear layers in it, where the processor does
    - `max_context`: bound the context length, which cannot exceed the model's; needed when the model does not say it
    - `assets`: the folder whose tokenizer and configuration files go along; by default the checkpoint's
    - `adapter`: the folder of a LoRA adapter that PEFT saved, merged into the weights of a checkpoint directory; a
      tokenizer in it goes along instead of the checkpoint's
    - `ignore_remote_code`: code that came with a checkpoint is never run; have transformers' own class of that model
      type stand for the one that is missing
    - `cache_layout`: `ring` keeps of attention under a sliding window its window only, whatever the context
    - `quantize`: a scheme, as `w4a8-g128` (see `graphwright.quantize`), and the `calibration` that it may need
    - `logits`: which of the model's outputs holds them (`output.1.scores`), where shapes leave that open
    - `threads`: cores to use, by default all; `on_stage` is called with the name of each stage that begins,
      and with `optimize: PASS` for each pass
    - `backend_options` are the backend's own: of `onnx` the `dialect`, which is `ort` for ONNX Runtime's own operators
      or `portable` for standard ONNX operators only

    Raises errors for which `graphwright.is_user_error` holds, each one line that says what to do.
    """
    check_threads(threads)
    kind = "language model"
    quantization = _quantization(quantize, calibration)
    options = Options(
        backend or "", target, pipeline, dtype, max_context, assets, kind, cache_layout, quantization, backend_options
    )
    said = ModelOptions(ignore_remote_code, logits, adapter)
    return _compiled(CompiledModel, model, options, output, threads, on_stage, said)


def compile_function(
    model: ModelLike,
    example_inputs: ExampleInputs | None = None,
    *,
    output: str | Path | None = None,
    backend: str | Backend | None = None,
    pipeline: str | Sequence[Pass] | None = None,
    dtype: DType | str | None = None,
    adapter: str | Path | None = None,
    ignore_remote_code: bool = False,
    quantize: str | Quantization | None = None,
    calibration: TokenSource | None = None,
    threads: int | None = None,
    on_stage: Callable[[str], object] | None = None,
    **backend_options: object,
) -> CompiledFunction:
    """Compile a model that does not generate (an encoder, a vision model, any forward pass) to a plain callable.

    The result takes numpy arrays by the names of the forward method's parameters and returns a dictionary of arrays.
    `example_inputs` are tensors in the order of the forward method, or by name; `trace` says which axes are dynamic.
    Token ids alone need no example, nor do most checkpoint directories; those of encoder-decoders are then captured
    without a mask. The other arguments are those of `compile`.
    """
    check_threads(threads)
    quantization = _quantization(quantize, calibration)
    options = Options(
        backend or "",
        pipeline=pipeline,
        dtype=dtype,
        kind="function",
        quantization=quantization,
        backend_options=backend_options,
    )
    said = ModelOptions(ignore_remote_code, adapter=adapter)
    return _compiled(CompiledFunction, model, options, output, threads, on_stage, said, example_inputs)


Result = TypeVar("Result", CompiledModel, CompiledFunction)


def _compiled(
    kind: type[Result],
    model: ModelLike,
    options: Options,
    output: str | Path | None,
    threads: int | None,
    on_stage: Callable[[str], object] | None,
    said: ModelOptions,
    example_inputs: ExampleInputs | None = None,
) -> Result:
    """The model compiled into `output`, or into a temporary folder that lives as long as the result, and loaded."""
    # Before a factory runs, which may take as long as the rest.
    check_request(options, None if output is None else Path(output))
    require_device(options.target)
    source = _with_examples(model, example_inputs, said)
    if output is not None:
        report = build(source, Path(output), options, on_stage)
        return kind(report.folder, report=report, threads=threads, engine=find_backend(options.backend).engine)
    temporary = TemporaryFolder()
    try:
        report = build(source, temporary.path / "artifact", options, on_stage)
        engine = find_backend(options.backend).engine
        compiled = kind(report.folder, report=report, threads=threads, engine=engine)
    except BaseException:
        temporary.remove()
        raise
    weakref.finalize(compiled, temporary.remove)
    return compiled


def load(
    path: str | Path, *, threads: int | None = None, verify: bool = True, engine: EngineFactory | None = None
) -> CompiledModel:
    """Load the artifact in the folder `path`; needs neither torch nor the compiler.

    `threads` is the number of cores to use, by default all; `verify=False` skips the hashes of the files. `engine` runs
    the artifacts of a backend of your own. Raises ArtifactError or SessionError.
    """
    return CompiledModel(Path(path), threads=threads, verify=verify, engine=engine)


def load_function(
    path: str | Path, *, threads: int | None = None, verify: bool = True, engine: EngineFactory | None = None
) -> CompiledFunction:
    """Load the plain function in the folder `path`; arguments and errors as for `load`."""
    return CompiledFunction(Path(path), threads=threads, verify=verify, engine=engine)


def trace(
    model: ModelLike,
    *,
    example_inputs: ExampleInputs | None = None,
    dtype: DType | str | None = None,
    adapter: str | Path | None = None,
    ignore_remote_code: bool = False,
    logits: str | None = None,
) -> Program:
    """Capture a model as a program with the graph `forward`, dynamic in batch B and sequence S.

    A module that takes token ids alone needs no `example_inputs`; any other needs them, in the order of its forward
    method or by name. Axis 0 of each is B; the length of token ids (int64 of two axes) is S, in every input that is as
    long, and T for token ids of another length, as a decoder's beside an encoder's. `adapter`, `logits` and
    `ignore_remote_code` are those of `compile`.

    Raises UnsupportedError, naming operator and module path, where the model cannot be captured.
    """
    said = ModelOptions(ignore_remote_code, logits, adapter)
    return capture_source(_with_examples(model, example_inputs, said), dtype)


def optimize(
    program: Program, pipeline: str | Sequence[Pass] = "default", *, prove: bool = False
) -> tuple[Program, Report]:
    """A copy of `program` after a pipeline (its name, or passes), and the report of every pass.

    With `prove` the program is run before and after every pass in the reference interpreter, and its answers must stay
    within rounding. Raises PassError when there is no such pipeline, or when a pass refuses the program; ProofError,
    which is one, when a pass changes an answer.
    """
    from graphwright.passes import run_passes
    from graphwright.passes.proving import InterpreterProver

    passes = find_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    copy = program.clone()
    return copy, run_passes(copy, passes, prover=InterpreterProver() if prove else None)


def export(
    model: ModelLike,
    folder: str | Path,
    *,
    layout: str = "plain",
    dialect: str = "portable",
    pipeline: str | Sequence[Pass] | None = None,
    dtype: DType | str | None = None,
    max_context: int | None = None,
    assets: str | Path | None = None,
    adapter: str | Path | None = None,
    ignore_remote_code: bool = False,
    quantize: str | Quantization | None = None,
    calibration: TokenSource | None = None,
    logits: str | None = None,
    on_stage: Callable[[str], object] | None = None,
) -> None:
    """Write `model` as ONNX for other runtimes into `folder`, which appears whole or not at all.

    `layout` is `plain` (model.onnx and its data), `genai` (onnxruntime-genai) or `optimum` (Hugging Face optimum). The
    other arguments are those of `compile`.
    """
    from graphwright.backends.interface import Companions
    from graphwright.backends.onnx.export.folder import LAYOUTS, require_assets
    from graphwright.compiling.lowering import export_folder

    check_choice("layout", layout, LAYOUTS)
    require_folder(Path(folder))
    quantization = _quantization(quantize, calibration)
    options = Options(
        pipeline=pipeline,
        dtype=dtype,
        max_context=max_context,
        assets=assets,
        quantization=quantization,
        backend_options={"dialect": dialect},
    )
    options.check()
    source = resolve(model, ModelOptions(ignore_remote_code, logits, adapter))
    require_assets(layout, source.assets if assets is None else assets)
    stopwatch = Stopwatch(on_stage)
    with prepared_with_assets(source, options, stopwatch) as prepared, stopwatch.stage("write"):
        export_folder(
            prepared.program,
            folder,
            layout=layout,
            dialect=dialect,
            companions=Companions(prepared.assets, prepared.generation_text),
            defaults=None if prepared.generation is None else prepared.generation.settings.defaults,
        )


def _quantization(quantize: str | Quantization | None, calibration: TokenSource | None) -> Quantization | None:
    # Loading an artifact comes through this file too, and needs no passes.
    from graphwright.quantizing.quantization import requested_quantization

    return requested_quantization(quantize, calibration)


def _with_examples(model: ModelLike, example_inputs: ExampleInputs | None, said: ModelOptions) -> Source:
    source = resolve(model, said)
    return source if example_inputs is None else replace(source, example_inputs=example_inputs)
