"""`graphwright explain`: where rules matched, where they nearly did, and what stopped them."""

from typing import TYPE_CHECKING, Annotated

import typer

from graphwright.cli import arguments
from graphwright.cli.module_ranges import module_ranges
from graphwright.cli.output import console, stage_display, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from graphwright.reporting.explanation import Explanation, RuleExplanation


def explain_command(
    model: arguments.ProgramArgument,
    rule: Annotated[
        str | None, typer.Option("--rule", help="One rule, or all rules of one pass; by default those that came near.")
    ] = None,
    passes: arguments.PassesOption = None,
    pipeline: arguments.NamedPipelineOption = None,
    adapter: arguments.AdapterOption = None,
    ignore_remote_code: arguments.IgnoreRemoteCodeOption = False,
    logits: arguments.LogitsOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show where each rule matched, where it nearly matched, and the first mismatch there.

    Runs the pipeline `default`, or `function` for a model that is not a language model. A near miss is shown where
    neither another rule nor a later pass matched.
    """
    from graphwright.compiling.targets import find_pipeline, requested_passes, usual_pipeline
    from graphwright.reporting.explanation import check_rule, explain

    if rule is not None:
        check_rule(rule)
    chosen = requested_passes(passes, pipeline)
    from graphwright.cli.programs import read_input
    from graphwright.sources.models import ModelOptions

    with stage_display() as on_stage:
        program = read_input(model, on_stage, ModelOptions(ignore_remote_code, logits, adapter))
        if chosen is None:
            chosen = find_pipeline(usual_pipeline(program))
        explanation = explain(program, chosen, rule, on_stage)
    if json:
        write_text(explanation.model_dump_json(indent=2) + "\n")
        return
    out = console()
    for line in _lines(explanation, every=rule is not None):
        out.print(line, markup=False)


def _lines(explanation: "Explanation", every: bool) -> "Iterator[str]":
    quiet: list[str] = []
    for row in explanation.rules:
        if every or row.matched or row.near_misses:
            yield from _rule_lines(row)
        elif row.ran and row.passes != ["canonicalize"]:  # that an identity does not apply is no news
            quiet.append(row.rule)
    if quiet:
        yield f"nothing near: {', '.join(quiet)}"
    if explanation.refusal is not None:
        yield f"the run ended: {explanation.refusal}"


def _rule_lines(row: "RuleExplanation") -> "Iterator[str]":
    owner = "" if row.passes == [row.rule] else f" (of {', '.join(row.passes)})"
    yield f"{row.rule}{owner}"
    if row.matched:
        count = sum(row.matched.values())
        modules = ", ".join(module_ranges(filter(None, row.matched)))
        yield f"  matched {'once' if count == 1 else f'{count} times'}{': ' + modules if modules else ''}"
    for miss in row.near_misses:
        yield f"  near miss{' at ' + miss.location if miss.location else ''}: {miss.reason}"
    if not row.matched and not row.near_misses:
        yield f"  {_nothing(row)}"


def _nothing(row: "RuleExplanation") -> str:
    if not row.ran:
        return "its pass did not run"
    if row.left is None:
        return "no match, and nothing near"
    kinds = " or ".join(row.begins_at)
    if row.left == 0:
        return f"no match: there is no {kinds}, at which it begins"
    return f"no match, and nothing near: of {row.left} {kinds} ops none has half of what it looks for"
