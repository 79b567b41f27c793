"""The planted faults: enough of them, valid graphs all, judged without a prover; the runner, by fake provers; and what
the proof of passes says: it catches every fault that changes an answer, names its pass, and raises no false alarm.

One file, and so one process, for the subjects are made once in each: whole models, their answers in float64.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import typer

from benchmarks.coverage.reference import LENGTHS
from benchmarks.mutations.__main__ import chosen, run
from benchmarks.mutations.catalogue import FAULTS
from benchmarks.mutations.fault import Fault
from benchmarks.mutations.lowerings import LOWERINGS
from benchmarks.mutations.models import NEAR_ZERO, NEAR_ZERO_LENGTHS, WINDOW
from benchmarks.mutations.outcome import Outcome, table
from benchmarks.mutations.subjects import MAKERS, SUBJECTS, subject
from benchmarks.mutations.trial import Trial, alarmed, asked, tried
from benchmarks.mutations.verdict import errors
from graphwright.compiling.targets import find_pipeline
from graphwright.ir import Program, print_graph
from graphwright.passes import Pass, run_passes
from graphwright.passes.proving import InterpreterProver, Proof, ProofError
from tests.tensors import norm


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors of a few thousand numbers: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def of_name(name: str) -> Fault:
    (fault,) = chosen([name])
    return fault


NO_CHANGE = {"ort-accepted", "decoder-graphs", "cpu-stored-weights"}
"""Passes in which there is no fault to plant: they only refuse, or find nothing to do in any of the models."""
LOWERED = ("cpu-onnx", "cpu-tvm", "cuda")


def test_the_catalogue_is_large_and_covers_every_pass() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 40
    assert sum(not fault.harmless for fault in FAULTS) >= 35
    names = {each.name for pipeline in ("default", "cpu", *LOWERED) for each in find_pipeline(pipeline)}
    assert {fault.each for fault in FAULTS} == names - NO_CHANGE
    assert max(Counter(fault.each for fault in FAULTS).values()) < len(FAULTS) / 4
    assert {fault.subject for fault in FAULTS} == set(SUBJECTS)


def test_a_faulty_pass_looks_like_the_true_one() -> None:
    for fault in FAULTS:
        passes = list(subject(fault.subject).passes)
        planted, place = fault.planted(passes), fault.place(passes)
        true, faulty = passes[place], planted[place]
        assert (str(faulty), faulty.name, faulty.lossy) == (str(true), true.name, true.lossy)
        assert isinstance(faulty, type(true))
        assert [p for i, p in enumerate(planted) if i != place] == [p for i, p in enumerate(passes) if i != place]


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_pipeline_without_a_fault_is_within_the_bound(name: str) -> None:
    it = subject(name)
    program = it.program.clone()
    report = run_passes(program, it.passes)
    assert all(0 < error <= 1 for _, error in errors(program, it))
    # eight bits of bfloat16, and its roundings add up
    largest = 0.2 if name in ("half to ort", "bf16 to cpu") else 1e-3
    assert it.bound < largest * max(float(exact.std()) for exact in it.exact)
    assert len(report.records) == len(it.passes)


def test_every_pass_has_a_subject_in_which_it_does_something() -> None:
    changed: set[str] = set()
    for name in SUBJECTS:
        report = run_passes(subject(name).program.clone(), subject(name).passes)
        changed |= {record.name.partition("{")[0] for record in report.records if record.changed}
    assert changed == {each.name for pipeline in LOWERED for each in find_pipeline(pipeline)} - NO_CHANGE


def test_inputs_reach_past_windows_and_hold_embeddings_near_zero() -> None:
    assert min(LENGTHS) > WINDOW
    for name in MAKERS:
        it = subject(name)
        assert all(bool(torch.isin(row, torch.tensor(NEAR_ZERO)).sum() >= 2) for row in (*it.rows, *it.contexts))
    table = next(w for n, w in subject("qwen").program.weights.items() if n.endswith("embed_tokens.weight")).evaluate()
    lengths = norm(table, dim=1)
    low, high = NEAR_ZERO_LENGTHS
    assert bool(((lengths[list(NEAR_ZERO)] > 0.9 * low) & (lengths[list(NEAR_ZERO)] < 1.1 * high)).all())


class Blind:
    """A prover that sees nothing."""

    notes: Sequence[str] = ()

    def begin(self, program: Program) -> None:
        self.texts = [self.text(program)]

    def fork(self) -> Blind:
        other = copy.copy(self)
        other.texts = list(self.texts)
        return other

    def text(self, program: Program) -> list[str]:
        return [print_graph(graph) for graph in program.graphs.values()]

    def check(self, each: Pass, program: Program) -> Proof:
        self.texts.append(self.text(program))
        return Proof("proven", 0.0, 1.0)


class AtOnce(Blind):
    """A prover that suspects the first pass that changes the text."""

    def check(self, each: Pass, program: Program) -> Proof:
        super().check(each, program)
        if self.texts[-1] != self.texts[-2]:
            raise ProofError("it changed", str(each), "rms_norm", "model.norm")
        return Proof("exact")


class Late(Blind):
    """A prover that comes to know of a fault in the first pass that it is shown when it is shown the second."""

    def check(self, each: Pass, program: Program) -> Proof:
        if len(self.texts) == 2:
            raise ProofError("it changed", self.first)
        self.first = str(each)
        return super().check(each, program)


CUT, NARROW = "weight-cut-to-ten-bits", "epsilon-changed-below-rounding"


def trial(name: str, prover: type[Blind]) -> Trial:
    fault = of_name(name)
    return tried(fault, subject(fault.subject), prover)


def test_a_prover_that_catches_a_fault_and_names_its_pass() -> None:
    found = trial(CUT, AtOnce)
    assert (found.changes, found.answer.caught, found.named) == (True, True, True)
    assert found.change is not None
    assert found.change > 1
    assert (found.answer.op, found.answer.location, found.answer.checks) == ("rms_norm", "model.norm", 1)
    assert found.as_it_should_be


def test_a_fault_that_is_missed_is_told() -> None:
    found = trial(CUT, Blind)
    assert (found.answer.caught, found.named, found.as_it_should_be) == (False, False, False)
    assert found.answer.checks == len(subject("qwen").passes)


def test_the_right_name_at_the_wrong_pass_does_not_count() -> None:
    found = trial(CUT, Late)
    assert (found.answer.each, found.each) == ("convert-dtype", "convert-dtype")
    assert (found.answer.caught, found.named) == (True, False)


def test_another_occurrence_of_the_pass_does_not_count() -> None:
    # the first canonicalization changes much; the fault is in the second
    found = trial("residual-taken-for-dead", AtOnce)
    assert found.answer.each == found.each == "canonicalize"
    assert not found.named


def test_an_alarm_at_what_changes_nothing_is_false() -> None:
    outcome = run([of_name(NARROW)], AtOnce)
    assert outcome.false_alarms == [NARROW, "qwen"]
    assert not outcome.is_perfect
    assert alarmed(subject("qwen"), AtOnce).caught


def test_a_pass_that_refuses_what_a_fault_left_is_no_proof() -> None:
    found = trial("norm-over-the-tokens", Blind)
    assert found.changes
    assert not found.answer.caught
    assert "insert-kv-cache" in found.answer.message


def test_the_figures_and_the_table() -> None:
    outcome = run([of_name(CUT), of_name(NARROW)], Blind)
    assert outcome.summary() == [
        "caught 0 / 1 planted that change the result",
        "named 0 / 1",
        "false alarms 0 / 1 planted that change nothing",
        "false alarms 0 / 1 pipelines without a fault",
    ]
    assert not outcome.is_perfect
    assert table(outcome).row_count == 2
    data = json.loads(json.dumps(outcome.data(), allow_nan=False))
    assert data["figures"]["caught"] == 0
    assert [t["name"] for t in data["trials"]] == [CUT, NARROW]
    perfect = Outcome([trial(CUT, AtOnce), trial(NARROW, Blind)], {"qwen": alarmed(subject("qwen"), Blind)})
    assert perfect.is_perfect
    assert perfect.summary()[:2] == ["caught 1 / 1 planted that change the result", "named 1 / 1"]


def test_a_program_that_does_not_run_has_changed() -> None:
    found = trial("decode-for-one-row", Blind)
    assert found.changes
    assert found.change is None


def test_a_name_that_there_is_not_gets_a_suggestion() -> None:
    with pytest.raises(typer.BadParameter, match="there is no fault 'scale-droped': did you mean 'scale-dropped'"):
        chosen(["scale-droped"])


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


OFTEN = {"columns-of-values-for-keys", "logits-rounded-beside-the-choice"}
"""Of the lowering for GPUs, which is like that for CPUs; its others are planted by `make test-emulated`."""


def _lowering_faults() -> list[Any]:
    seldom = [f for f in FAULTS if f.subject.endswith(" to cuda") and f.name not in OFTEN]
    faults = [f for f in FAULTS if f.subject in LOWERINGS]
    return [pytest.param(f, id=f.name, marks=pytest.mark.emulated_full if f in seldom else ()) for f in faults]


@pytest.mark.slow
@pytest.mark.parametrize("fault", _lowering_faults())
def test_every_fault_in_lowering_is_caught_and_its_pass_and_place_named(fault: Fault) -> None:
    """The proof begins at the faulty pass, for it costs time: that lowering without a fault is proven is tested where
    its passes are, and `python -m benchmarks.mutations` judges these faults as it does all others."""
    whole = subject(fault.subject)
    place = fault.place(whole.passes)
    program = whole.program.clone()
    run_passes(program, whole.passes[:place])
    planted = fault.planted(whole.passes)[place:]
    answer = asked(replace(whole, program=program, passes=whole.passes[place:]), planted, 0, InterpreterProver)
    assert answer.caught != fault.harmless
    assert not answer.message or answer.caught, "the faulty graph verifies"
    if answer.caught:
        assert (answer.each, answer.checks) == (str(whole.passes[place]), 1)
        assert bool(answer.op) != (fault.name in DO_NOT_RUN)
