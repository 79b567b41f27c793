"""The proof of passes catches every planted fault that changes an answer, names its pass, and raises no false alarm."""

from __future__ import annotations

import pytest

from benchmarks.mutations.__main__ import run
from benchmarks.mutations.catalogue import FAULTS
from benchmarks.mutations.subjects import MAKERS
from graphwright.passes.proving import InterpreterProver


@pytest.mark.slow
@pytest.mark.parametrize("subject", MAKERS)
def test_every_planted_fault_is_caught_and_its_pass_named(subject: str) -> None:
    outcome = run([fault for fault in FAULTS if fault.subject == subject], InterpreterProver)
    assert not [t.name for t in outcome.trials if t.verifier], "each faulty graph verifies"
    assert not [t.name for t in outcome.trials if t.changes == t.harmless]
    assert not [t.name for t in outcome.counted if not t.answer.caught]
    assert not [(t.name, t.each, t.answer.each, t.answer.checks) for t in outcome.caught if not t.named]
    assert outcome.false_alarms == []


def test_the_catalogue_has_enough_faults_that_change_an_answer() -> None:
    assert sum(not fault.harmless for fault in FAULTS) >= 35
