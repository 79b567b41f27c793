"""`graphwright generate`: text from an artifact, or from a model that is compiled on the way."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from graphwright.cli.arguments import AdapterOption, IgnoreRemoteCodeOption, LogitsOption
from graphwright.cli.output import loading_bar, stage_display, write_text
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
        bool, typer.Option("--chat", help="Apply the chat template: the prompt is a user's message.")
    ] = False,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Generate at most this many tokens; by default until the context is full.")
    ] = None,
    min_new_tokens: Annotated[int | None, typer.Option(help="Generate at least this many tokens.")] = None,
    ignore_eos: Annotated[bool, typer.Option("--ignore-eos", help="Continue after an end token.")] = False,
    temperature: Annotated[float | None, typer.Option(help="0: always the likeliest token.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Sample from the k likeliest tokens; 0: off.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample from the likeliest tokens that sum to p; 1: off.")] = None,
    min_p: Annotated[float | None, typer.Option(help="Drop tokens below p times the likeliest; 0: off.")] = None,
    typical_p: Annotated[float | None, typer.Option(help="Sample from typical tokens that sum to p; 1: off.")] = None,
    repetition_penalty: Annotated[float | None, typer.Option(help="Values above 1 discourage repetition.")] = None,
    presence_penalty: Annotated[
        float | None, typer.Option(help="Subtracted from the logits of tokens in the new text.")
    ] = None,
    frequency_penalty: Annotated[
        float | None, typer.Option(help="Subtracted once for each time that the new text has the token.")
    ] = None,
    no_repeat_ngram_size: Annotated[
        int | None, typer.Option(help="Generate no sequence of this many tokens twice; 0: off.")
    ] = None,
    logit_bias: Annotated[
        list[str] | None,
        typer.Option(metavar="ID=VALUE", help="Added to the token's logit; -inf forbids it; can be repeated."),
    ] = None,
    suppress_tokens: Annotated[
        str | None, typer.Option(metavar="ID,ID,…", help="Tokens that are never generated; '' for none.")
    ] = None,
    bad_words_ids: Annotated[
        list[str] | None,
        typer.Option(metavar="ID,ID,…", help="A sequence that is never completed; can be repeated."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed for sampling.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="Stop before this text; can be repeated.")] = None,
    max_context: Annotated[
        int | None, typer.Option(help="At most this many tokens in prompt and answer; by default the model's context.")
    ] = None,
    logits: LogitsOption = None,
    threads: Annotated[int | None, typer.Option(help="Cores to use; by default all.")] = None,
    device: Annotated[
        Literal["emulator"] | None,
        typer.Option(help="emulator: run an artifact for GPUs without one, for anyone who wants to look; slow."),
    ] = None,
    adapter: AdapterOption = None,
    ignore_remote_code: IgnoreRemoteCodeOption = False,
) -> None:
    """Continue a prompt and print the new text as it is generated.

    The prompt is the argument, the content of --file, or standard input; one trailing newline is removed from the
    latter two. Without a prompt, generation starts from the model's start token. The model's settings are the defaults
    of the options.
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

    loaded = _load(
        model, threads, max_context, arguments, ModelOptions(ignore_remote_code, logits, adapter), device == "emulator"
    )
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
    emulated: bool,
) -> "CompiledModel":
    from graphwright.runtime.artifact import claims_artifact

    if claims_artifact(Path(model)):
        options.refuse_for_captured(f"{model} is compiled already")
        from graphwright.api import load

        with loading_bar():
            if emulated:
                from graphwright.emulating import emulated_engine

                return load(model, threads=threads, engine=emulated_engine)
            return load(model, threads=threads)
    if emulated:
        raise OptionError(f"--device emulator runs artifacts: compile {model} first, with --target cuda")
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
