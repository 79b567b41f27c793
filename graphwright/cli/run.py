"""`graphwright run`: a program in the reference interpreter."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphwright.cli.output import console, write_text
from graphwright.errors import OptionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from graphwright.ir import Program
    from graphwright.runtime.tokenizer import Tokenizer

DEFAULT_TOKENS = 16
SHOWN = 16
"""Numbers of a tensor that are printed one by one."""


def run_command(
    program: Annotated[str, typer.Argument(metavar="FILE.gw", help="A program; - reads its text.")],
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="ARTIFACT",
            help="The artifact that holds its weights (and tokenizer); by default the folder of FILE.gw.",
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="The text that a language model continues.")] = None,
    ids: Annotated[
        str | None, typer.Option("--ids", metavar="ID,ID,…", help="Token ids in its place; prints token ids.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="At most so many tokens; by default 16, the interpreter is slow.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="NAME=VALUE", help="Numbers as JSON, or a .npy file; may be given several times."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draws the inputs that are not given; by default 0.")] = None,
) -> None:
    """Run a program, such as an artifact's lowered.gw, in the interpreter, which says what each op means.

    A language model with a cache continues --prompt or --ids, or begins with its start token. Each token is the
    likeliest one: settings of generation_config.json are not asked. Any other program gets inputs, given or drawn, and
    prints type, shape and numbers of inputs and outputs; where two of its graphs take an input of one name, it is given
    as encode.NAME and forward.NAME.
    """
    if prompt is not None and ids is not None:
        raise OptionError("give --prompt or --ids, not both")
    from graphwright.compiling.requirements import require_compiler
    from graphwright.evaluating.interpreter_run import require_weights, run_graphs
    from graphwright.ir.convention import is_decoder

    require_compiler()
    tokenizer, read = _read(program, weights)
    run_graphs(read)
    require_weights(read)
    if is_decoder(read):
        if seed is not None:
            raise OptionError("--seed draws inputs of functions; a language model gets --prompt or --ids")
        _generate(read, tokenizer, prompt, ids, max_new_tokens or DEFAULT_TOKENS, inputs or [])
        return
    for option, given in (("--prompt", prompt), ("--ids", ids), ("--max-new-tokens", max_new_tokens)):
        if given is not None:
            raise OptionError(f"{option} is for language models with a cache; '{read.name}' takes --input NAME=VALUE")
    _call(read, inputs or [], seed or 0)


def _read(program: str, weights: Path | None) -> "tuple[Tokenizer | None, Program]":
    """The program, and the tokenizer of the artifact that it belongs to, if there is one."""
    from graphwright.files.standard_input import standard_input
    from graphwright.ir import parse_program, read_program
    from graphwright.runtime.artifact import LOWERED_FILE, open_artifact
    from graphwright.runtime.tokenizer_file import read_tokenizer

    if program != "-" and not program.endswith(".gw"):
        lowered = Path(program) / LOWERED_FILE
        hint = f"give {lowered}" if lowered.exists() else "its name ends in .gw"
        raise UsageError(f"{program} is not a program's file: {hint}")
    folder = None if weights is None else open_artifact(weights).folder
    if program == "-":
        return read_tokenizer(folder), parse_program(standard_input(), "<stdin>", folder)
    return read_tokenizer(folder or Path(program).parent), read_program(program, folder)


# -- language models


def _generate(
    program: "Program",
    tokenizer: "Tokenizer | None",
    prompt: str | None,
    ids: str | None,
    count: int,
    inputs: list[str],
) -> None:
    """Prints the tokens that continue a prompt: as text, or as ids where ids were given or there is no tokenizer."""
    from graphwright.evaluating.interpreter_run import context_input, greedy_tokens, start_token

    source = context_input(program)
    tokens = _tokens(program, tokenizer, prompt, ids)
    context: dict[str, Tensor] | None = None
    if source is None and not tokens:
        tokens = _begin(program)
    elif source is not None:
        name, reads_tokens = str(source.name), not source.tensor.dtype.is_float
        context = {name: _row(tokens) if reads_tokens else _given_row(program, name, inputs)}
        tokens = [start_token(program)] if reads_tokens or not tokens else tokens
    if inputs and (source is None or not source.tensor.dtype.is_float):
        raise OptionError("--input is for functions; a language model gets --prompt or --ids")
    new = greedy_tokens(program, tokens, count, context)
    if ids is None and tokenizer is not None:
        _print_text(new, tokenizer, tokens)
    else:
        write_text(",".join(map(str, new)) + "\n")


def _tokens(program: "Program", tokenizer: "Tokenizer | None", prompt: str | None, ids: str | None) -> list[int]:
    """The token ids of the prompt, none without one. Raises UserError for what the model does not take."""
    from graphwright.cli.token_options import read_ids
    from graphwright.evaluating.interpreter_run import token_count
    from graphwright.runtime.prompts import check_ids, encode_text

    if ids is not None:
        return check_ids(read_ids("--ids", ids), token_count(program), "--ids")
    if prompt is not None and tokenizer is None:
        raise OptionError("--prompt is a text, and there is no tokenizer.json: give --ids, or --weights ARTIFACT")
    return [] if prompt is None else encode_text(prompt, tokenizer, special_tokens=True, name="--prompt")


def _begin(program: "Program") -> list[int]:
    """The model's start token."""
    from graphwright.evaluating.interpreter_language import metadata_tokens
    from graphwright.ir.convention import BOS_TOKEN_IDS

    begin = metadata_tokens(program, BOS_TOKEN_IDS)[:1]
    if not begin:
        raise OptionError(f"'{program.name}' has no token to begin with: give --prompt or --ids")
    return begin


def _row(tokens: list[int]) -> "Tensor":
    import torch

    if not tokens:
        raise OptionError("the program reads a text beside its answer: give --prompt or --ids")
    return torch.tensor(tokens)


def _given_row(program: "Program", name: str, inputs: list[str]) -> "Tensor":
    """The one row of numbers that the program reads beside its tokens."""
    from graphwright.cli.input_options import read_inputs

    given = read_inputs(program, inputs)
    if set(given) != {name} or given[name].shape[:1] != (1,):
        raise OptionError(f"'{program.name}' reads one row beside its tokens: give --input {name}=FILE.npy, [1, …]")
    return given[name][0]


def _print_text(new: "Iterable[int]", tokenizer: "Tokenizer", prompt: list[int]) -> None:
    from graphwright.runtime.printable import for_terminal
    from graphwright.runtime.streaming import IncrementalDecoder

    decoder = IncrementalDecoder(tokenizer, prompt)
    for token in new:
        write_text(decoder.push(token), for_terminal)
        sys.stdout.flush()
    write_text(decoder.finish() + "\n", for_terminal)


# -- functions


def _call(program: "Program", inputs: list[str], seed: int) -> None:
    from graphwright.cli.input_options import read_inputs
    from graphwright.evaluating.interpreter_run import run_function

    given = read_inputs(program, inputs)
    taken, made = run_function(program, given, seed)
    out = console()
    for kind, values in (("input", taken), ("output", made)):
        for name, value in values.items():
            drawn = " (drawn)" if kind == "input" and name not in given else ""
            out.print(f"{kind:7} {name}: {_summary(value)}{drawn}".replace("\n", "\\n"), markup=False)


def _summary(value: "Tensor") -> str:
    """Type, shape and numbers of a tensor: all of a few, range and mean of many."""
    from graphwright.ir.torch_types import dtype_of

    type = f"{dtype_of(value)}[{', '.join(map(str, value.shape))}]"
    if value.numel() <= SHOWN:
        return f"{type} = {value.tolist()}"  # pyright: ignore[reportUnknownMemberType] - untyped library
    numbers = value.double()
    strange = int((~numbers.isfinite()).sum())
    finite = numbers[numbers.isfinite()]
    range = (
        f"from {finite.min():.6g} to {finite.max():.6g}, mean {finite.mean():.6g}"
        if finite.numel()
        else "nothing finite"
    )
    return f"{type} {range}" + (f", {strange} not finite" if strange else "")
