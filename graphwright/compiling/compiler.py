"""From a source to an artifact: capture, check, optimize, write."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graphwright.compiling.collection import without_collection
from graphwright.compiling.narrowing import narrowing_passes
from graphwright.compiling.pass_progress import PassProgress
from graphwright.compiling.report import CompilationReport, Stopwatch
from graphwright.compiling.requirements import require_compiler
from graphwright.compiling.targets import (
    CACHE_LAYOUTS,
    backend_for,
    backend_options,
    check_choice,
    choose_passes,
    find_backend,
    find_pipeline,
    is_language_model,
    require_backend,
    split_target,
    with_cache_layout,
    with_machines,
)
from graphwright.errors import OptionError, UsageError
from graphwright.files.output_paths import require_folder
from graphwright.sources.generation_settings import GenerationSettings, check_special_tokens, read_generation_settings
from graphwright.sources.models import Source
from graphwright.sources.text_assets import text_assets

if TYPE_CHECKING:
    from graphwright.backends.interface import Backend
    from graphwright.compiling.lowering import BuildReport
    from graphwright.ir import Program
    from graphwright.passes import Observer, Pass, Report
    from graphwright.quantizing.quantization import Quantization
    from graphwright.quantizing.quantization_report import QuantizationReport


Kind = Literal["auto", "language model", "function"]
"""What to compile to: text generation with a cache, a plain function, or whichever the captured program is."""


@dataclass(frozen=True)
class Options:
    """How to compile; see `graphwright.compile` for each. `backend_options` are the backend's own, by name.

    A target may name machines behind a colon, as `cpu:v3`: they are the backend's option of that kind. Without a
    backend it is the one of the target's name, or the first that compiles for it. Raises OptionError where none does.
    """

    backend: str | Backend = ""
    target: str = "cpu"
    pipeline: str | Sequence[Pass] | None = None
    dtype: Any = None
    max_context: int | None = None
    assets: str | Path | None = None
    kind: Kind = "auto"
    cache_layout: str = "contiguous"
    quantization: Quantization | None = None
    backend_options: Mapping[str, object] = field(default_factory=dict[str, object])

    def __post_init__(self) -> None:
        target, machines = split_target(self.target)
        backend = self.backend or backend_for(target, by_machine=machines is not None).name
        options = with_machines(find_backend(backend), self.backend_options, machines)
        object.__setattr__(self, "target", target)
        object.__setattr__(self, "backend", backend)
        object.__setattr__(self, "backend_options", options)

    def check(self) -> None:
        """Raises OptionError, UsageError or PassError for what cannot be acted on, before any work is done."""
        require_compiler()
        backend = find_backend(self.backend)
        check_choice("target", self.target, backend.targets)
        backend.for_target(backend_options(backend, self.backend_options), self.target)
        require_backend(backend)
        check_choice("cache layout", self.cache_layout, CACHE_LAYOUTS)
        if isinstance(self.pipeline, str):
            find_pipeline(self.pipeline)
        if self.max_context is not None and self.max_context < 1:
            raise OptionError(f"is {self.max_context}: must be at least 1", "max_context")
        if self.assets is not None and not Path(self.assets).is_dir():
            raise OptionError(f"is {self.assets}, which is not a folder: name the checkpoint's", "assets")
        if self.dtype is not None:
            from graphwright.frontend import compute_dtype

            compute_dtype(self.dtype)
        if self.quantization is not None:
            self.quantization.check()


@dataclass(frozen=True)
class Prepared:
    """A program as the backend takes it, and what the passes and quantization did to get there.

    `assets` is the folder of the files that go along, and `generation` its settings, if any.
    """

    program: Program
    passes: Report
    quantization: QuantizationReport | None
    assets: Path | None = None
    generation: GenerationSettings | None = None

    @property
    def generation_text(self) -> str | None:
        """What to write of the settings, where the files that go along say less."""
        return None if self.generation is None else self.generation.text


def capture(source: Source, dtype: Any = None, *, function: bool = False) -> Program:
    """The captured program of a source; a program stays as it is. A plain `function` keeps all that the model returns.

    Raises the frontend's errors, UsageError.
    """
    from graphwright.ir import Program

    if isinstance(source.model, Program):
        if dtype is not None:
            raise UsageError("a program has been captured already, so dtype comes too late: trace the model with it")
        if source.example_inputs is not None:
            raise UsageError("a program has been captured already, so it takes no example inputs")
        source.options.refuse_for_captured("a program has been captured already")
        return source.model
    if source.options.weights == "seed":
        return _captured_by_sizes(source, dtype, function)
    return _captured(source, source.model, dtype, function)


def _captured_by_sizes(source: Source, dtype: Any, function: bool) -> Program:
    from graphwright.sources.seeded_weights import seed_weights, sized_checkpoint

    if not isinstance(source.model, Path) or not source.model.is_dir():
        raise OptionError("fills the weights of a folder with a config.json, and this is none", "weights")
    if source.options.adapter is not None:
        raise OptionError("fills all weights, so no adapter can be merged into them", "weights")
    with sized_checkpoint(source.model, dtype) as folder:
        program = _captured(source, folder, dtype, function)
    seed_weights(program)
    return program


def _captured(source: Source, model: Any, dtype: Any, function: bool) -> Program:
    from graphwright import frontend

    program = frontend.capture(
        model,
        source.example_inputs,
        dtype=dtype,
        ignore_remote_code=source.options.ignore_remote_code,
        logits=source.options.logits,
        adapter=source.options.adapter,
        function=function,
    )
    program.name = source.name
    return program


def prepare(
    source: Source,
    options: Options,
    stopwatch: Stopwatch,
    *,
    measure: bool = False,
    generation: GenerationSettings | None = None,
) -> Prepared:
    """The program as the backend takes it. The source's own program is left as it is.

    With `measure`, the divergence of every step of quantization is taken. A language model is held against the
    settings `generation`, if it is to generate with them.
    """
    from graphwright import frontend

    options.check()
    check_context(source, options.max_context)
    with stopwatch.stage("capture"):
        program = capture(source, options.dtype, function=options.kind == "function").clone()
    function = _is_function(program, options)
    if not function:
        limit_context(program, options.max_context)
        check_special_tokens(program)
        if generation is not None:
            generation.check(program)
    elif options.max_context is not None:
        raise UsageError(f"'{program.name}' is compiled as a plain function, so it has no context to limit")
    with stopwatch.stage("check weights"):
        frontend.check_finite(program)
    with stopwatch.stage("optimize"):
        passes = choose_passes(program, options.target, options.pipeline, function=function)
        report = _optimize(program, with_cache_layout(passes, options.cache_layout), PassProgress(stopwatch.announce))
    narrowing = narrowing_passes(options)
    if options.quantization is None:
        report.records += _optimize(program, narrowing, PassProgress(stopwatch.announce)).records
        return Prepared(program, report, None)
    from graphwright.quantizing.quantization import quantize_program

    with stopwatch.stage("quantize"):
        assets = source.assets if options.assets is None else options.assets
        quantized, records = quantize_program(
            program, options.quantization, assets, stopwatch.announce, measure=measure
        )
    if source.options.weights == "seed":
        from graphwright.sources.seeded_weights import seed_codes

        seed_codes(program)
    report.records += records
    report.records += _optimize(program, narrowing, PassProgress(stopwatch.announce)).records
    return Prepared(program, report, quantized)


def _is_function(program: Program, options: Options) -> bool:
    """Whether to compile a plain function. Raises UsageError where the program is not what the options ask for."""
    from graphwright.ir.convention import LANGUAGE_MODEL_PROBLEM, is_decoder

    if options.kind != "function" and not is_language_model(program):
        if isinstance(problem := program.metadata.get(LANGUAGE_MODEL_PROBLEM), str):
            raise UsageError(f"'{program.name}' takes token ids, but {problem}; or make a plain function (--function)")
        if options.kind == "language model":
            _require_free_length(program)
            raise UsageError(
                f"'{program.name}' does not generate: it is not a language model (token ids to logits), "
                f"{_signature(program)}; "
                "compile it as a plain function: graphwright.compile_function, or `graphwright compile`"
            )
    if options.kind == "function" and is_decoder(program):
        raise UsageError(f"'{program.name}' has a cache already; a plain function is compiled from the traced program")
    return options.kind == "function" or not is_language_model(program)


def _signature(program: Program) -> str:
    """What a program takes and gives, in words."""
    from graphwright.ir.convention import FORWARD

    graph = program.graphs[FORWARD]
    takes = ", ".join(f"{v.name}: {v.type}" for v in graph.inputs)
    gives = [f"{name}: {v.type}" for name, v in graph.outputs.items()]
    more = f", and {len(gives) - 8} more" if len(gives) > 8 else ""
    return f"it takes {takes} and returns {', '.join(gives[:8])}{more}"


def _require_free_length(program: Program) -> None:
    """Raises UsageError for token ids without a batch, or of a fixed number, as an archive may have."""
    from graphwright.ir.convention import FORWARD

    inputs = program.graphs[FORWARD].inputs
    if len(inputs) == 1 and str(inputs[0].tensor.dtype) in ("i64", "i32") and inputs[0].tensor.rank == 1:
        raise UsageError(
            f"'{program.name}' takes token ids without a batch ({inputs[0].name}: {inputs[0].type}), and a language "
            "model takes [batch, sequence]: give its forward method a batch axis"
        )
    if len(inputs) != 1 or str(inputs[0].tensor.dtype) != "i64" or inputs[0].tensor.rank != 2:
        return
    for axis, what in enumerate(("batch", "sequence")):
        size = inputs[0].tensor.shape[axis].constant
        if size is not None:
            raise UsageError(
                f"'{program.name}' was exported for a {what} of {size}, and a language model needs any: "
                "export it with dynamic_shapes"
            )


def _optimize(program: Program, passes: Sequence[Pass], observer: Observer) -> Report:
    from graphwright.ir import PassError
    from graphwright.passes import run_passes
    from graphwright.passes.kv_cache.lookahead import NotCausalError

    try:
        return run_passes(program, passes, observer)
    except NotCausalError as refusal:
        advice = "it compiles as a plain function: graphwright.compile_function, or --function"
        raise PassError(f"{refusal}; {advice}") from None


def check_request(options: Options, folder: Path | None) -> None:
    """Raises what `Options.check` does, and ArtifactError where an artifact could not be written to the folder."""
    options.check()
    if folder is not None:
        from graphwright.runtime.artifact import is_artifact

        require_folder(folder, is_artifact)


def build_once(
    source: Source, folder: Path, options: Options, on_stage: Callable[[str], object] | None = None
) -> CompilationReport:
    """As `build`, or a copy of an artifact that is kept of an earlier time, of whose passes there is no report."""
    from graphwright.compiling.kept_artifacts import KeptArtifact
    from graphwright.ir.notices import noting_notices

    stopwatch = Stopwatch(on_stage)
    with stopwatch.stage("copy"):
        kept = KeptArtifact.of(source, options)
        manifest = None if kept is None else kept.copy_to(folder)
    if manifest is not None:
        return CompilationReport(tuple(stopwatch.stages), None, manifest, folder)
    with noting_notices() as notices:
        report = build(source, folder, options, on_stage)
    if kept is not None:
        kept.keep(folder, report.manifest, notices)
    return report


def build(
    source: Source, folder: Path, options: Options, on_stage: Callable[[str], object] | None = None
) -> CompilationReport:
    """Compile `source` into the artifact `folder`, which appears whole or not at all."""
    check_request(options, folder)
    stopwatch = Stopwatch(on_stage)
    with without_collection(), prepared_with_assets(source, options, stopwatch) as prepared, stopwatch.stage("write"):
        built = _write(prepared, folder, options, stopwatch.announce)
    prepared.passes.records += built.lowering.records
    return CompilationReport(tuple(stopwatch.stages), prepared.passes, built.manifest, folder, prepared.quantization)


@contextmanager
def prepared_with_assets(
    source: Source, options: Options, stopwatch: Stopwatch, *, measure: bool = False
) -> Generator[Prepared]:
    """What `prepare` makes, with the tokenizer and the settings of its checkpoint, for as long as the body writes them.

    Everything that is written for a model to generate with goes through here, so that all of it says the same. Raises
    what `read_generation_settings`, `text_assets` and `prepare` do.
    """
    original = source.assets if options.assets is None else Path(options.assets)
    generation = None if options.kind == "function" else read_generation_settings(source, original)
    with text_assets(original) as assets:
        source, options = replace(source, assets=assets), replace(options, assets=None)
        prepared = prepare(source, options, stopwatch, measure=measure, generation=generation)
        yield replace(prepared, assets=assets, generation=generation)


def _write(prepared: Prepared, folder: Path, options: Options, show: Callable[[str], object]) -> BuildReport:
    """The artifact, by the backend that the options name."""
    from graphwright.backends.interface import Companions
    from graphwright.compiling.lowering import build_artifact
    from graphwright.ir.progress import announcing

    companions = Companions(prepared.assets, prepared.generation_text)
    with announcing(show):
        return build_artifact(
            prepared.program,
            folder,
            options.backend,
            companions=companions,
            observer=PassProgress(show, stage="lower"),
            target=options.target,
            **options.backend_options,
        )


def limit_context(program: Program, max_context: int | None) -> None:
    """Settle `context_length` and `vocabulary_size` in the metadata of a language model.

    Raises UsageError when `max_context` is more than the model's context, or when neither says how long it is.
    """
    from graphwright.ir.convention import CONTEXT_WINDOW, LOGITS, VOCABULARY_SIZE, context_window

    logits = next((g.outputs[LOGITS] for g in program.graphs.values() if LOGITS in g.outputs), None)
    if logits is None or logits.type.rank != 3:
        if max_context is not None:
            raise UsageError(f"'{program.name}' is not a language model, so it has no context to limit")
        return
    vocabulary = logits.type.shape[2].constant
    if vocabulary is not None:
        program.metadata.setdefault(VOCABULARY_SIZE, vocabulary)
    known = context_window(program)
    if max_context is None:
        if known is None:
            raise UsageError(f"'{program.name}' does not say how long its context is; give max_context (--max-context)")
        return
    _require_within(max_context, known)
    program.metadata[CONTEXT_WINDOW] = max_context


def check_context(source: Source, max_context: int | None) -> None:
    """Raises OptionError for more than the context of a model that tells it before it is captured."""
    from graphwright.ir.convention import context_window

    if max_context is None:
        return
    from graphwright.ir import Program

    if isinstance(source.model, Program):
        _require_within(max_context, context_window(source.model))
    elif isinstance(source.model, Path) and source.model.is_dir():
        from graphwright.frontend import checkpoint_context

        _require_within(max_context, checkpoint_context(source.model))


def _require_within(max_context: int, known: int | None) -> None:
    if max_context < 1 or (known is not None and max_context > known):
        limit = "at least 1" if known is None else f"1 to {known}, the model's context length"
        raise OptionError(f"is {max_context}: must be {limit}", "max_context")
