"""Runs passes over a program and tells what each did: hits, near misses, proof, prices and the difference it made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from graphwright.compiling.pass_progress import PassProgress
from graphwright.files.programs import display_text
from graphwright.passes import difference, run_passes
from graphwright.reporting.pipeline_report import Hit, Miss, PassRow, Phase, PipelineReport, Price, Proof, Workload
from graphwright.version import __version__

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.passes import Observer, Pass, PassRecord
    from graphwright.passes.proving import Prover
    from graphwright.reporting.pricer import Pricer


def record_pipeline(
    program: Program,
    passes: Sequence[Pass],
    workload: Workload,
    *,
    pipeline: str | None = None,
    pricer: Pricer | None = None,
    prover: Prover | None = None,
    observer: Observer | None = None,
    on_stage: Callable[[str], object] = lambda _: None,
) -> PipelineReport:
    """Runs the passes on the program, in place.

    `pipeline` is how the report calls them, by default their names. Without a `pricer` there are no prices, without a
    `prover` no proofs. `on_stage` is called with `optimize: PASS` and `prove: PASS`. Raises as `run_passes` does.
    """
    watch = _Watch(pricer, observer, on_stage if prover is not None else None)
    before = watch.prices(program)
    records = run_passes(program, passes, PassProgress(on_stage, watch), prover).records
    return PipelineReport(
        graphwright=__version__,
        program=program.name,
        pipeline=pipeline or ",".join(map(str, passes)),
        workload=workload,
        machine=pricer.machine if pricer is not None else None,
        before=before,
        passes=[_row(*each) for each in zip(records, watch.priced, watch.differences, strict=True)],
        kinds=pricer.kinds(program) if pricer is not None else [],
        memory=pricer.memory(program) if pricer is not None else [],
        measured_seconds={},
        notes=list(prover.notes) if prover is not None else [],
        graph=display_text(program),
    )


class _Watch:
    """Prices the program after each pass and keeps what changed; an observer that shows it to another too."""

    def __init__(
        self,
        pricer: Pricer | None,
        observer: Observer | None,
        on_proof: Callable[[str], object] | None,
    ) -> None:
        self.priced: list[dict[Phase, Price]] = []
        self.differences: list[str] = []
        self._pricer, self._observer, self._on_proof = pricer, observer, on_proof
        self._text = ""

    def prices(self, program: Program) -> dict[Phase, Price]:
        return self._pricer.prices(program) if self._pricer is not None else {}

    def before(self, each: Pass, program: Program) -> None:
        if self._observer is not None:
            self._observer.before(each, program)
        self._text = self._text or display_text(program)

    def during(self, each: Pass, done: int, total: int) -> None:
        if self._observer is not None:
            self._observer.during(each, done, total)

    def after(self, each: Pass, program: Program) -> None:
        text = display_text(program)
        self.differences.append(difference(self._text, text))
        self._text = text
        self.priced.append(self.prices(program))
        if self._observer is not None:
            self._observer.after(each, program)
        if self._on_proof is not None:
            self._on_proof(f"prove: {each}")


def _row(record: PassRecord, prices: dict[Phase, Price], changes: str) -> PassRow:
    return PassRow(
        name=record.name,
        lossy=record.lossy,
        seconds=record.seconds,
        ops_before=record.ops_before,
        ops_after=record.ops_after,
        hits=[
            Hit(rule=rule, count=places.total(), locations=[place for place in places if place])
            for rule, places in record.places.items()
        ],
        near_misses=[
            Miss(rule=m.rule, location=m.location, matched=m.matched, reason=m.reason) for m in record.near_misses
        ],
        proof=None if record.proof is None else Proof(**asdict(record.proof)),
        prices=prices,
        diff=changes,
    )
