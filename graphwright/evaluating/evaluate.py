"""`graphwright.evaluate`: how well a model predicts a text, and how far it is from another model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphwright.errors import OptionError, UsageError
from graphwright.files.temporary_folders import temporary_folder
from graphwright.runtime import Model, load
from graphwright.runtime.artifact import claims_artifact
from graphwright.runtime.cores import check_threads
from graphwright.runtime.evaluation import Evaluation, LanguageModel, score
from graphwright.runtime.token_rows import cut_rows, read_stream, require_readable, start_token
from graphwright.runtime.tokenizer_file import read_tokenizer
from graphwright.sources.models import ModelOptions, Source, require_path, resolve
from graphwright.sources.text_assets import text_assets

if TYPE_CHECKING:
    from graphwright.api import ModelLike
    from graphwright.runtime.token_rows import TokenSource
    from graphwright.runtime.tokenizer import Tokenizer

    EvaluatedModel = ModelLike | Model

LENGTH = 512
"""Tokens of a row of a model that names no context."""


def evaluate(
    model: EvaluatedModel,
    text: TokenSource,
    *,
    against: EvaluatedModel | None = None,
    length: int | None = None,
    rows: int | None = None,
    interpreter: bool = False,
    assets: str | Path | None = None,
    adapter: str | Path | None = None,
    ignore_remote_code: bool = False,
    logits: str | None = None,
    threads: int | None = None,
    on_stage: Callable[[str], object] | None = None,
) -> Evaluation:
    """Perplexity of `model` on a text; with `against`, KL divergence from that model and how often both agree.

    `model` and `against` are artifacts (folders, or loaded), which need neither torch nor the compiler; or anything
    that `compile` takes, which is compiled into a temporary folder, or run by the reference interpreter if
    `interpreter`. `text` is the path of a text or of a `.npy` of token ids, or an array of them. It is cut into rows of
    `length` tokens, by default the models' context, that are read from an empty cache; at most `rows` of them, evenly
    spread. `assets` is the folder of the tokenizer, by default a model's own; `adapter` is
    merged into `model`; `ignore_remote_code` and `logits` are those of `compile`, of whichever is still to be captured.

    Raises errors for which `graphwright.is_user_error` holds, each one line that says what to do.
    """
    announce = on_stage or _ignore_stage
    check_threads(threads)
    for name, value in (("length", length), ("rows", rows)):
        least = 2 if name == "length" else 1
        if value is not None and value < least:
            raise OptionError(f"is {value}: must be at least {least}", name)
    require_readable(text)
    for each in (model, against):
        _require_there(each)
    if assets is not None and not Path(assets).is_dir():
        raise OptionError(f"is {assets}, which is not a folder: name the tokenizer's", "assets")
    with ExitStack() as stack:
        given = [model] if against is None else [model, against]
        said = [ModelOptions(ignore_remote_code, adapter=adapter), ModelOptions(ignore_remote_code)]
        sources = [_source(each, options) for each, options in zip(given, said, strict=False)]
        if logits is not None:
            sources = _with_logits(sources, logits)
        opened = [_open(each, interpreter, length, threads, stack, announce) for each in sources]
        tokenizer = _tokenizer(None if assets is None else Path(assets), stack)
        tokenizer = tokenizer or next((each.tokenizer for each in opened if each.tokenizer is not None), None)
        contexts = [each.language.context_length for each in opened]
        longest = min((context for context in contexts if context is not None), default=LENGTH)
        stream = read_stream(text, tokenizer, opened[0].language.vocabulary_size)
        start = start_token(tokenizer, opened[0].begin_tokens)
        cut = cut_rows(stream, length=length or longest, rows=rows, exact=length is not None, start=start)
        announce("evaluate")
        languages = [each.language for each in opened]
        return Evaluation(score(languages[0], cut, *languages[1:]), stream.bytes_per_token)


def _require_there(model: Any) -> None:
    """Raises UsageError for a path at which there is no model, before another is compiled."""
    if isinstance(model, str | Path) and not Path(model).exists():
        require_path(str(model))


def _ignore_stage(stage: str) -> None:
    """Where nobody wants to know of stages."""


@dataclass(frozen=True)
class _Opened:
    """A model ready to be asked, the tokenizer in its folder, and its start tokens."""

    language: LanguageModel
    tokenizer: Tokenizer | None
    begin_tokens: tuple[int, ...]


def _source(model: Any, options: ModelOptions) -> Model | str | Path | Source:
    """A loaded model and the folder of an artifact as they are, anything else as what is to be captured."""
    if isinstance(model, Model) or (isinstance(model, str | Path) and claims_artifact(Path(model))):
        options.refuse_for_captured("the model is compiled already")
        return model
    return resolve(model, options)


def _with_logits(sources: list[Model | str | Path | Source], logits: str) -> list[Model | str | Path | Source]:
    """The sources, those of them that are to be captured with these logits. Raises OptionError where none is."""
    told = [_with_logits_option(each, logits) for each in sources]
    if all(after is before for after, before in zip(told, sources, strict=True)):
        raise OptionError("comes too late: the model is captured already; trace the model with it", "logits")
    return told


def _with_logits_option(source: Model | str | Path | Source, logits: str) -> Model | str | Path | Source:
    if not isinstance(source, Source):
        return source
    from graphwright.ir import Program

    return source if isinstance(source.model, Program) else resolve(source, ModelOptions(logits=logits))


def _tokenizer(assets: Path | None, stack: ExitStack) -> Tokenizer | None:
    """The tokenizer in a folder, as an artifact would have it. That of an artifact is complete."""
    if assets is not None and not claims_artifact(assets):
        assets = stack.enter_context(text_assets(assets))
    return read_tokenizer(assets)


def _open(
    model: Model | str | Path | Source,
    interpreter: bool,
    length: int | None,
    threads: int | None,
    stack: ExitStack,
    on_stage: Callable[[str], object],
) -> _Opened:
    if isinstance(model, Model):
        return _loaded(model)
    if isinstance(model, str | Path):
        if interpreter:
            raise UsageError(f"{model} is compiled: the interpreter runs checkpoints and .gw files")
        return _loaded(load(model, threads=threads))
    source = _captured(model, length, on_stage)
    if interpreter:
        return _interpreted(source, stack, on_stage)
    from graphwright.compiling.compiler import Options, build

    folder = stack.enter_context(temporary_folder()) / "artifact"
    build(source, folder, Options(kind="language model"), on_stage)
    return _loaded(load(folder, threads=threads, verify=False))


def _captured(source: Source, length: int | None, on_stage: Callable[[str], object]) -> Source:
    """The source as a program, for rows of that length where it does not say how long its context is."""
    from graphwright.compiling.compiler import capture
    from graphwright.ir.convention import CONTEXT_WINDOW

    on_stage("capture")
    program = capture(source).clone()
    program.metadata.setdefault(CONTEXT_WINDOW, length or LENGTH)
    return replace(source, model=program, example_inputs=None, options=ModelOptions())


def _loaded(model: Model) -> _Opened:
    from graphwright.runtime.evaluation import RuntimeLanguageModel

    return _Opened(RuntimeLanguageModel(model), model.tokenizer, tuple(model.manifest.model.bos_token_ids))


def _interpreted(source: Source, stack: ExitStack, on_stage: Callable[[str], object]) -> _Opened:
    from graphwright.compiling.compiler import Options, prepare
    from graphwright.compiling.report import Stopwatch
    from graphwright.evaluating.interpreter_language import InterpreterLanguageModel, metadata_tokens
    from graphwright.ir.convention import BOS_TOKEN_IDS

    program = prepare(source, Options(kind="language model"), Stopwatch(on_stage)).program
    tokenizer = _tokenizer(source.assets, stack)
    return _Opened(InterpreterLanguageModel(program), tokenizer, tuple(metadata_tokens(program, BOS_TOKEN_IDS)))
