"""The proof of passes catches every planted fault that changes an answer, names its pass, and raises no false alarm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.mutations.__main__ import run
from benchmarks.mutations.catalogue import FAULTS
from benchmarks.mutations.fault import Fault
from benchmarks.mutations.lowerings import LOWERINGS
from benchmarks.mutations.subjects import MAKERS, subject
from benchmarks.mutations.trial import tried
from graphwright.passes import run_passes
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


DO_NOT_RUN = {"decode-kept-for-all-phases", "context-of-one-length"}
"""Faults after which the program takes other shapes: they depart before any op."""


@pytest.mark.slow
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.subject in LOWERINGS], ids=lambda f: f.name)
def test_every_fault_in_lowering_is_caught_and_its_pass_and_place_named(fault: Fault) -> None:
    """The proof begins at the faulty pass: that lowering without a fault is proven is tested where its passes are."""
    whole = subject(fault.subject)
    place = fault.place(whole.passes)
    program = whole.program.clone()
    run_passes(program, whole.passes[:place])
    found = tried(fault, replace(whole, program=program, passes=whole.passes[place:]), InterpreterProver)
    assert not found.verifier, "the faulty graph verifies"
    assert found.changes != found.harmless
    assert found.as_it_should_be
    if found.changes:
        assert bool(found.answer.op) != (fault.name in DO_NOT_RUN)


def test_the_catalogue_has_enough_faults_that_change_an_answer() -> None:
    assert sum(not fault.harmless for fault in FAULTS) >= 35
