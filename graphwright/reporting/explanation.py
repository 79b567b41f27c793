"""What rules made of a program: where each matched, where it nearly did, and what stopped it there."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from graphwright.compiling.pass_progress import PassProgress
from graphwright.errors import UsageError
from graphwright.ir import PassError
from graphwright.passes import REGISTRY, Run
from graphwright.passes.base import RulePass
from graphwright.reporting.pipeline_report import Miss

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.passes import Pass, Report


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RuleExplanation(_Row):
    """One rule over all the passes that have it."""

    rule: str
    passes: list[str] = Field(description="the names of those passes")
    begins_at: list[str] = Field(description="ops at which its patterns begin; empty if it does not go by patterns")
    matched: dict[str, int] = Field(description="how often, in which module")
    near_misses: list[Miss]
    left: int | None = Field(description="ops that it may begin at and did not match; null if it has no patterns")
    ran: bool = Field(description="whether a pass that it belongs to ran, and did not refuse")


class Explanation(_Row):
    """All rules that were asked about, in the order of their passes."""

    program: str
    passes: list[str] = Field(description="the passes that ran")
    refusal: str | None = Field(description="why a pass refused the program, which ended the run")
    rules: list[RuleExplanation]


def explain(
    program: Program,
    passes: Sequence[Pass],
    rule: str | None = None,
    on_stage: Callable[[str], object] = lambda _: None,
) -> Explanation:
    """Runs the passes on the program, in place, as far as they go, and says what their rules matched.

    `rule` is the name of a rule, or of a pass for all that it finds; None is for every rule. Raises UsageError for a
    name that is not known, or is of no pass in the run.
    """
    asked = _asked(passes, rule)
    run = Run(program, PassProgress(on_stage))
    refusal: str | None = None
    for each in passes:
        try:
            run.step(each)
        except PassError as problem:
            refusal = str(problem)
            break
    report = run.report()
    return Explanation(
        program=program.name,
        passes=[record.name for record in report.records],
        refusal=refusal,
        rules=[_explained(name, passes, report) for name in asked],
    )


def check_rule(rule: str) -> None:
    """Raises UsageError, with the nearest name, unless a pass or one of its rules is named so."""
    known = dict.fromkeys((*(n for cls in REGISTRY.values() for n in cls.rule_names()), *REGISTRY))
    if rule not in known:
        near = difflib.get_close_matches(rule, known, 1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "`graphwright explain MODEL` names those that apply"
        raise UsageError(f"there is no rule '{rule}': {hint}")


def _asked(passes: Sequence[Pass], rule: str | None) -> list[str]:
    if rule is None:
        return _names(passes)
    check_rule(rule)
    found = _names(each for each in passes if each.name == rule)
    if not found and rule in _names(passes):
        found = [rule]
    if not found:
        owners = [name for name, cls in REGISTRY.items() if rule == name or rule in cls.rule_names()]
        raise UsageError(f"rule '{rule}' belongs to the pass {owners[0]}, which is not run here: add it with --passes")
    return found


def _names(passes: Iterable[Pass]) -> list[str]:
    return list(dict.fromkeys(name for each in passes for name in each.rule_names()))


def _explained(name: str, passes: Sequence[Pass], report: Report) -> RuleExplanation:
    owners = [each for each in passes if name in each.rule_names()]
    rules = [r for each in owners if isinstance(each, RulePass) for r in each.rules if r.name == name]
    matched: Counter[str] = Counter()
    misses: dict[tuple[str, str], Miss] = {}
    left: int | None = None
    for record in report.records:
        matched.update(record.places.get(name, {}))
        if name in record.candidates:
            left = record.candidates[name]
        for miss in record.near_misses:
            if miss.rule == name:
                row = Miss(rule=name, location=miss.location, matched=miss.matched, reason=miss.reason)
                misses[miss.location, miss.reason] = row
    return RuleExplanation(
        rule=name,
        passes=list(dict.fromkeys(each.name for each in owners)),
        begins_at=list(dict.fromkeys(root for r in rules for root in r.roots)),
        matched=dict(matched),
        near_misses=list(misses.values()),
        left=left,
        ran=any(str(each) == record.name for each in owners for record in report.records),
    )
