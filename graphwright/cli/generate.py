"""`graphwright generate`: text from an artifact, or from a model that is compiled on the way."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphwright.cli.arguments import AdapterOption, IgnoreRemoteCodeOption, LogitsOption
from graphwright.cli.output import stage_display, write_text
from graphwright.cli.token_options import read_bias, read_ids
from graphwright.errors import OptionError, UsageError
from graphwright.runtime.files import TEXT, read_text
from graphwright.runtime.printable import for_terminal

if TYPE_CHECKING:
    from graphwright.compiling.compiled import CompiledModel
    from graphwright.runtime import GenerationArguments
    from graphwright.sources.models import ModelOptions


def generate_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An artifact, or any model that `compile` takes.")],
    prompt: Annotated[
        str | None, typer.Argument(help="The text to continue; - or nothing reads standard input.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Read the prompt from this file.")] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="The prompt is a user's message: use the chat template.")
    ] = False,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="At most so many tokens; by default until the context is full.")
    ] = None,
    min_new_tokens: Annotated[int | None, typer.Option(help="At least so many, before the model may end.")] = None,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Go on where the model would end.")] = False,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample among the k likeliest tokens; 0 is off.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample among the likeliest that sum to p; 1 is off.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Drop tokens below p times the likeliest; 0 is off.")] = None,
    typical_p: Annotated[
        float | None, typer.Option(help="Sample among typical tokens that sum to p; 1 is off.")
    ] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Above 1 discourages repetition.")] = None,
    presence_penalty: Annotated[
        float | None, typer.Option(help="Subtracted from the logits of tokens that the answer has.")
    ] = None,
    frequency_penalty: Annotated[
        float | None, typer.Option(help="The same for each time that the answer has them.")
    ] = None,
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(help="No sequence of so many tokens twice; 0 is off.")
    ] = None,
    logit_bias: Annotated[
        list[str] | None,
        typer.Option(metavar="ID=VALUE", help="Added to a token's logit, -inf forbids; may be given several times."),
    ] = None,
    suppress_tokens: Annotated[
        str | None, typer.Option(metavar="ID,ID,…", help="Tokens that are never chosen; '' for none.")
    ] = None,
    bad_words_ids: Annotated[
        list[str] | None,
        typer.Option(metavar="ID,ID,…", help="A sequence that is never completed; may be given several times."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text; may be given several times.")] = None,
    max_context: Annotated[
        int | None, typer.Option(help="Hold prompt and answer below so many tokens; by default the model's context.")
    ] = None,
    logits: LogitsOption = None,
    threads: Annotated[int | None, typer.Option(help="Cores to use, by default all; at most those there are.")] = None,
    adapter: AdapterOption = None,
    ignore_remote_code: IgnoreRemoteCodeOption = False,
) -> None:
    """Continue a prompt and print the new text as it comes.

    The prompt is the argument, the file's content, or standard input (one newline at their end is dropped). Without
    any, generation starts from the model's start token. Options left out have the model's own defaults.
    """
    for name, given in (("the prompt", prompt), *(("--stop", each) for each in stop or ())):
        _check_utf_8(name, given)
    text = _prompt(prompt, file)
    if chat and not text:
        raise OptionError("--chat needs a message: give a prompt, --file, or standard input")
    arguments: GenerationArguments = {
        "max_new_tokens": max_new_tokens,
        "min_new_tokens": min_new_tokens,
        "ignore_eos": ignore_eos or None,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "typical_p": typical_p,
        "repetition_penalty": repetition_penalty,
        "presence_penalty": presence_penalty,
        "frequency_penalty": frequency_penalty,
        "no_repeat_ngram_size": no_repeat_ngram_size,
        "logit_bias": dict(read_bias(each) for each in logit_bias) if logit_bias else None,
        "suppress_tokens": None if suppress_tokens is None else read_ids("--suppress-tokens", suppress_tokens),
        "bad_words_ids": [read_ids("--bad-words-ids", each) for each in bad_words_ids] if bad_words_ids else None,
        "seed": seed,
        "stop_strings": stop or None,
    }
    from graphwright.sources.models import ModelOptions

    loaded = _load(model, threads, max_context, arguments, ModelOptions(ignore_remote_code, logits, adapter))
    if chat:
        messages = [{"role": "user", "content": text}]
        loaded.chat(messages, stream=_write, max_context=max_context, **arguments)
    else:
        loaded.generate(text, stream=_write, max_context=max_context, **arguments)
    _write("\n")


def _prompt(prompt: str | None, file: Path | None) -> str:
    if file is not None:
        if prompt is not None:
            raise OptionError("give a prompt or --file, not both")
        try:
            return _without_last_newline(read_text(file, TEXT, pipes=True))
        except UnicodeDecodeError:
            raise OptionError(f"--file: {file} is not UTF-8 text") from None
    if prompt not in (None, "-"):
        return prompt
    if sys.stdin is None or (prompt is None and sys.stdin.isatty()):  # pyright: ignore[reportUnnecessaryComparison] - None when it was closed
        return ""
    try:
        return _without_last_newline(sys.stdin.read())
    except UnicodeDecodeError:
        raise UsageError("standard input is not UTF-8 text") from None


def _check_utf_8(name: str, given: str | None) -> None:
    """Raises UsageError for an argument whose bytes are no UTF-8; Python hands them on as half characters."""
    if given is not None and any("\udc80" <= character <= "\udcff" for character in given):
        raise UsageError(f"{name} is not UTF-8 text")


def _without_last_newline(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _load(
    model: str,
    threads: int | None,
    max_context: int | None,
    arguments: "GenerationArguments",
    options: "ModelOptions",
) -> "CompiledModel":
    from graphwright.runtime.artifact import claims_artifact

    if claims_artifact(Path(model)):
        options.refuse_for_captured(f"{model} is compiled already")
        from graphwright.api import load

        return load(model, threads=threads)
    from graphwright.api import compile
    from graphwright.compiling.compiler import check_context
    from graphwright.runtime.options import resolve_options
    from graphwright.sources.models import resolve

    # Compiling takes a while: what the model need not be asked for is checked before.
    resolve_options({}, arguments)
    source = resolve(model, options)
    check_context(source, max_context)
    with stage_display() as on_stage:
        return compile(source, threads=threads, on_stage=on_stage)


def _write(piece: str) -> None:
    # A terminal would obey it: escape sequences in a text that a stranger's model wrote, or was led to write, can
    # rewrite the screen, the clipboard or the window's title.
    write_text(piece, for_terminal)
    sys.stdout.flush()
