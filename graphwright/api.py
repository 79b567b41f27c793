"""The functions of the public face."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, cast

from graphwright.compiled import CompiledModel
from graphwright.compiler import Options, build, prepare
from graphwright.compiler import capture as capture_source
from graphwright.models import Source, resolve
from graphwright.report import Stopwatch
from graphwright.targets import check_choice

if TYPE_CHECKING:
    from torch import Tensor, nn

    from graphwright.ir import DType, Program
    from graphwright.passes import Pass, Report

    ModelLike = nn.Module | Program | str | Path
    ExampleInputs = Tensor | Sequence[Tensor]


def compile(
    model: ModelLike,
    *,
    output: str | Path | None = None,
    backend: str = "onnx",
    target: str = "cpu",
    pipeline: str | Sequence[Pass] | None = None,
    dialect: str = "ort",
    dtype: DType | str | None = None,
    max_context: int | None = None,
    assets: str | Path | None = None,
    threads: int | None = None,
    on_stage: Callable[[str], object] | None = None,
) -> CompiledModel:
    """Compile a language model and load it.

    `model` is a torch.nn.Module from token ids, int64 [B, S], to logits [B, S, V]; a path (a checkpoint directory, a
    `.gw` file, or `file.py:factory`); or a captured program. The model itself is not changed.

    - `output`: where the artifact stays; by default a temporary folder that lives as long as the result
    - `pipeline`: a pipeline's name or passes; by default the target's, which for `cpu` computes in float32
    - `dialect`: `ort` uses ONNX Runtime's own operators, `portable` standard ONNX operators only
    - `dtype`: capture the model as if converted to it (`bf16`, `f16`, `f32`); by default the checkpoint's own
    - `max_context`: bound the context length, which cannot exceed the model's; needed when the model does not say it
    - `assets`: the folder whose tokenizer and configuration files go along; by default the checkpoint's
    - `threads`: cores to use, by default all; `on_stage` is called with the name of each stage that begins

    Raises errors for which `graphwright.is_user_error` holds, each one line that says what to do.
    """
    options = Options(backend, target, pipeline, dialect, dtype, max_context, assets, only_language_models=True)
    source = resolve(model)
    if output is not None:
        report = build(source, Path(output), options, on_stage)
        return CompiledModel(report.folder, report=report, threads=threads)
    temporary = mkdtemp(prefix="graphwright-")
    try:
        report = build(source, Path(temporary) / "artifact", options, on_stage)
        compiled = CompiledModel(report.folder, report=report, threads=threads)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    weakref.finalize(compiled, shutil.rmtree, temporary, ignore_errors=True)
    return compiled


def load(path: str | Path, *, threads: int | None = None, verify: bool = True) -> CompiledModel:
    """Load the artifact in the folder `path`; needs neither torch nor the compiler.

    `threads` is the number of cores to use, by default all; `verify=False` skips the hashes of the files. Raises
    ArtifactError or SessionError.
    """
    return CompiledModel(Path(path), threads=threads, verify=verify)


def trace(
    model: ModelLike, *, example_inputs: ExampleInputs | None = None, dtype: DType | str | None = None
) -> Program:
    """Capture a model as a program with the graph `forward`, dynamic in batch B and sequence S.

    A module that takes token ids alone needs no `example_inputs`; any other needs them, in the order of its forward
    method. Raises UnsupportedError, naming operator and module path, where the model cannot be captured.
    """
    source = resolve(model)
    if example_inputs is not None:
        source = Source(source.name, source.model, _as_tuple(example_inputs), source.assets)
    return capture_source(source, dtype)


def optimize(program: Program, pipeline: str | Sequence[Pass] = "default") -> tuple[Program, Report]:
    """A copy of `program` after a pipeline (its name, or passes), and the report of every pass.

    Raises PassError when there is no such pipeline, or when a pass refuses the program.
    """
    from graphwright.passes import named_pipeline, run_passes

    passes = named_pipeline(pipeline) if isinstance(pipeline, str) else pipeline
    copy = program.clone()
    return copy, run_passes(copy, passes)


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
    on_stage: Callable[[str], object] | None = None,
) -> None:
    """Write `model` as ONNX for other runtimes into `folder`, which appears whole or not at all.

    `layout` is `plain` (model.onnx and its data), `genai` (onnxruntime-genai) or `optimum` (Hugging Face optimum). The
    other arguments are those of `compile`.
    """
    from graphwright.backends.onnx import export_folder
    from graphwright.backends.onnx.export.folder import LAYOUTS

    check_choice("layout", layout, LAYOUTS)
    options = Options(pipeline=pipeline, dialect=dialect, dtype=dtype, max_context=max_context)
    options.check()
    source = resolve(model)
    stopwatch = Stopwatch(on_stage)
    program, _ = prepare(source, options, stopwatch)
    with stopwatch.stage("write"):
        export_folder(
            program, folder, layout=layout, dialect=dialect, assets=source.assets if assets is None else assets
        )


def _as_tuple(inputs: ExampleInputs) -> tuple[Tensor, ...]:
    return tuple(inputs) if isinstance(inputs, list | tuple) else (cast("Tensor", inputs),)
