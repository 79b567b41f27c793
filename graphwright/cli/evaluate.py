"""`graphwright evaluate`: perplexity of a model on a text, and how far it is from another."""

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphwright.cli.arguments import AdapterOption, AssetsOption, IgnoreRemoteCodeOption, LogitsOption
from graphwright.cli.output import console, counted, stage_display

if TYPE_CHECKING:
    from graphwright.runtime.evaluation import Evaluation


def evaluate_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An artifact, or any model that `compile` takes.")],
    text: Annotated[Path, typer.Option("--text", help="A text (UTF-8), or a .npy file of token ids.")],
    against: Annotated[
        str | None, typer.Option("--against", metavar="MODEL", help="The float model: an artifact, or as MODEL.")
    ] = None,
    length: Annotated[
        int | None, typer.Option("--length", help="Tokens of a row; by default the context, or all of a short text.")
    ] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", help="At most so many rows, evenly spread; by default all.")
    ] = None,
    interpreter: Annotated[
        bool, typer.Option("--interpreter", help="Run by the reference interpreter instead of compiling; slow.")
    ] = False,
    assets: AssetsOption = None,
    adapter: AdapterOption = None,
    ignore_remote_code: IgnoreRemoteCodeOption = False,
    logits: LogitsOption = None,
    threads: Annotated[int | None, typer.Option(help="Cores to use, by default all; at most those there are.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say how well MODEL predicts a text: perplexity of a token and of a byte.

    With --against, also the KL divergence from that model, in nats a token, and how often both find the same token
    likeliest. The text is cut into rows, each read from an empty cache. Artifacts need neither torch nor the compiler.
    """
    from graphwright.evaluating.evaluate import evaluate

    with stage_display() as on_stage:
        found = evaluate(
            model,
            text,
            against=against,
            length=length,
            rows=rows,
            interpreter=interpreter,
            assets=assets,
            adapter=adapter,
            ignore_remote_code=ignore_remote_code,
            logits=logits,
            threads=threads,
            on_stage=on_stage,
        )
    if json:
        sys.stdout.write(json_text.dumps(_figures(found), indent=2) + "\n")
        return
    out = console()
    score = found.score
    out.print(f"perplexity {found.perplexity:.4g} a token{_per_byte(found)}")
    if score.kl is not None and score.agreement is not None:
        out.print(f"KL         {score.kl:.3g} nats a token from {against}", markup=False)
        out.print(f"agreement  {score.agreement:.2%} of likeliest tokens")
    out.print(f"over       {counted(score.tokens, 'token')}, in {counted(score.rows, 'row')} of {score.length}")


def _per_byte(found: "Evaluation") -> str:
    return "" if found.byte_perplexity is None else f", {found.byte_perplexity:.4g} a byte"


def _figures(found: "Evaluation") -> dict[str, Any]:
    score = found.score
    return {
        "perplexity": found.perplexity,
        "byte_perplexity": found.byte_perplexity,
        "nats_per_token": score.nats,
        "kl": score.kl,
        "agreement": score.agreement,
        "rows": score.rows,
        "length": score.length,
        "tokens": score.tokens,
    }
