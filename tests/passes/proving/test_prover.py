"""What the prover accepts, what it finds, and how it says so."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import pytest
import torch

from graphwright.ir import Builder, DType, PassError, Program, StoredArray, notify, ops
from graphwright.ir.attributes import Attribute
from graphwright.passes import PIPELINES, Pass, run_passes
from graphwright.passes.kv_cache.insert_kv_cache import InsertKVCache
from graphwright.passes.kv_cache.select_logits import SelectLogits
from graphwright.passes.kv_cache.specialize import Specialize
from graphwright.passes.proving import InterpreterProver, ProofError, prover
from graphwright.passes.proving.language import LanguageTrial
from graphwright.passes.simplifying.canonicalize import Canonicalize
from graphwright.passes.simplifying.convert_dtype import ConvertDType
from graphwright.passes.simplifying.pack_projections import PackProjections
from tests.passes.graphs import program, random_weight
from tests.passes.proving.faults import Spoils, attribute, find
from tests.passes.proving.models import language_model

pytestmark = pytest.mark.slow

CACHED: tuple[Pass, ...] = (InsertKVCache(), SelectLogits(), PackProjections(), Canonicalize(), Specialize())


def failure(subject: Program, *passes: Pass) -> ProofError:
    with pytest.raises(ProofError) as caught:
        run_passes(subject, passes, prover=InterpreterProver())
    return caught.value


def test_right_passes_are_proven_or_exact_and_within_a_small_part_of_the_bound() -> None:
    report = run_passes(language_model(), PIPELINES["default"], prover=InterpreterProver())
    proofs = {r.name: r.proof for r in report.records if r.proof is not None}
    assert len(proofs) > 10
    assert proofs["split-context"].status == "exact"
    cached = proofs["insert-kv-cache"]
    assert cached.status == "proven"
    assert cached.error is not None
    assert cached.bound is not None
    # The passes here move no constant: what is left is float64 rounding, 2^-29 of what the bound allows for.
    assert 0 < cached.error < cached.bound * 2**-20
    assert 0 < cached.bound < 1e-4
    assert cached.seconds > 0


def test_without_a_prover_nothing_is_claimed() -> None:
    (record,) = run_passes(language_model(), [Canonicalize()]).records
    assert record.proof is None


def test_a_fault_names_pass_op_module_error_and_bound() -> None:
    spoiled = Spoils(attribute(ops.rms_norm, epsilon=0.0), Canonicalize())
    error = failure(language_model(), spoiled)
    assert (error.each, error.op, error.location) == ("spoils", "rms_norm", "layers.0.norm")
    assert str(error).startswith("spoils changes the answers: at forward, row 0, they are off by ")
    assert str(error).endswith("the first value that departs is rms_norm at layers.0.norm")
    assert error.program is not None
    assert find(error.program.graphs["forward"], ops.rms_norm).attributes["epsilon"] == 1e-05


@pytest.mark.parametrize(
    ("name", "graph", "number", "changed", "location"),
    [
        ("attention", "prefill", 1, {"window": 7}, "layers.1.attn"),
        ("attention", "prefill", 1, {"mask": "causal", "window": 0}, "layers.1.attn"),
        ("attention", "prefill", 0, {"scale": 0.501}, "layers.0.attn"),
        ("rope", "decode", 3, {"interleaved": True}, "layers.1.attn"),
        ("glu", "decode", 1, {"kind": "gelu"}, "layers.1.mlp"),
    ],
)
def test_a_fault_in_a_graph_with_a_cache(
    name: str, graph: str, number: int, changed: dict[str, Attribute], location: str
) -> None:
    spoil = attribute(getattr(ops, name), graph, number, **changed)
    error = failure(language_model(), *CACHED, Spoils(spoil))
    assert (error.op, error.location) == (name, location)


def test_a_token_written_to_another_place_of_the_cache() -> None:
    def late(subject: Program) -> None:
        graph = subject.graphs["prefill"]
        append = find(graph, ops.kv_append)
        build = Builder(graph, append, append.location)
        graph.set_operand(append, 2, build(ops.add, append.required("past_length"), 1))

    error = failure(language_model(), InsertKVCache(), Spoils(late))
    assert (error.op, error.location) == ("kv_append", "layers.0.attn")


def test_padding_that_is_seen() -> None:
    def unmasked(subject: Program) -> None:
        graph = subject.graphs["prefill"]
        attention = find(graph, ops.attention)
        build = Builder(graph, attention, attention.location)
        index = [o.name for o in ops.attention.operands].index("positions")
        later = build(ops.add, attention.required("positions"), 1)
        graph.set_operand(attention, index, later)

    assert failure(language_model(), InsertKVCache(), Spoils(unmasked)).op == "attention"


def test_one_weight_rounded_to_the_precision_of_tf32() -> None:
    def rounded(subject: Program) -> None:
        graph = subject.graphs["forward"]
        op = next(op for op in graph if op.location == "layers.1.attn.o")
        near = StoredArray.of(subject.weights["o.1"].evaluate() * (1 + 2.0**-11))
        graph.set_operand(op, 1, graph.weight(subject.add_weight("near", near)))

    error = failure(language_model(), Spoils(rounded))
    assert (error.op, error.location) == ("linear", "layers.1.attn.o")


def test_a_computation_moved_to_a_narrower_type() -> None:
    def narrowed(subject: Program) -> None:
        graph = subject.graphs["forward"]
        norm = find(graph, ops.rms_norm, 1)
        build = Builder(graph, norm, norm.location)
        x = norm.inputs[0]
        graph.set_operand(norm, 0, build(ops.cast, build(ops.cast, x, dtype=DType.BF16), dtype=DType.F32))

    error = failure(language_model(), Spoils(narrowed))
    assert "in its own types they are off by" in str(error)
    assert (error.op, error.location) == ("cast", "layers.1.norm")


def test_a_pass_that_promises_a_wider_type_is_held_to_it() -> None:
    def narrowed(subject: Program) -> None:
        graph = subject.graphs["forward"]
        op = find(graph, ops.linear)
        build = Builder(graph, op, op.location)
        narrow = build(ops.cast, build(ops.cast, op.inputs[0], dtype=DType.BF16), dtype=DType.F32)
        graph.set_operand(op, 0, narrow)

    @dataclass(frozen=True)
    class Widens(Spoils):
        @property
        def promised_dtype(self) -> DType:
            return DType.F32

    subject = program(*IN_BFLOAT16)
    error = failure(subject, Widens(narrowed, ConvertDType(to="f32")))
    assert (error.op, error.location) == ("cast", "head")


IN_BFLOAT16 = (
    """(%input_ids: i64[B, S]) {
  %x = embedding(@table, %input_ids) : bf16[B, S, 8]
  %y = rms_norm(%x, @scale) {epsilon=1e-05} : bf16[B, S, 8]  at norm
  %logits = linear(%y, @table) : bf16[B, S, 16]  at head
  return logits=%logits
}""",
    (random_weight("table", 16, 8) + random_weight("scale", 8)).replace("f32", "bf16"),
)


def test_a_checkpoint_in_bfloat16_is_held_to_float32_rounding_all_the_same() -> None:
    subject = program(*IN_BFLOAT16)
    run_passes(subject.clone(), [ConvertDType(to="f32"), Canonicalize()], prover=InterpreterProver())
    error = failure(subject, ConvertDType(to="f32"), Spoils(attribute(ops.rms_norm, epsilon=1.1e-05)))
    assert (error.each, error.op, error.location) == ("spoils", "rms_norm", "norm")


class Lossy(Spoils):
    """A pass that may change answers."""

    name = "lossy"
    lossy = True


def test_a_lossy_pass_is_measured_and_its_program_is_right_from_there_on() -> None:
    changed = attribute(ops.attention, scale=0.51)
    report = run_passes(language_model(), [Lossy(changed), Canonicalize(), *CACHED], prover=InterpreterProver())
    measured, *others = (r.proof for r in report.records)
    assert measured is not None
    assert measured.status == "measured"
    assert measured.error is measured.bound is None
    assert measured.kl is not None
    assert measured.logit_error is not None
    assert 0 < measured.kl < 0.1 < measured.logit_error
    assert {p.status for p in others if p is not None} <= {"exact", "proven"}
    assert report.records[0].lossy
    assert not report.records[1].lossy
    assert failure(language_model(), Lossy(changed), Spoils(attribute(ops.attention, scale=0.5))).each == "spoils"


def test_a_program_that_does_not_run_any_more() -> None:
    def shifted(subject: Program) -> None:
        graph = subject.graphs["forward"]
        op = find(graph, ops.embedding)
        graph.set_operand(op, 1, Builder(graph, op)(ops.add, op.inputs[1], 16))

    error = failure(language_model(), Spoils(shifted))
    assert str(error).startswith("spoils makes a program that does not run: ")
    assert error.program is not None


FUNCTION = """(%x: f32[B, S, 4], %mask: i64[B, S]) {
  %w = softmax(%x) {axis=-1} : f32[B, S, 4]  at act
  %m = cast(%mask) {dtype=f32} : f32[B, S]
  %r = reshape(%m) {shape=[B, S, 1]} : f32[B, S, 1]
  %y = mul(%w, %r) : f32[B, S, 4]
  return y=%y
}"""


def test_a_plain_function_is_proven_by_all_its_outputs() -> None:
    report = run_passes(program(FUNCTION), [Canonicalize()], prover=InterpreterProver())
    assert report.records[0].proof is not None
    error = failure(program(FUNCTION), Spoils(attribute(ops.softmax, axis=1)))
    assert (error.op, error.location) == ("softmax", "act")
    assert "B=1, S=28" in str(error)


def test_lengths_beyond_the_models_context_or_a_table_are_not_asked_for() -> None:
    comparison = InterpreterProver()
    run_passes(language_model(context=5), CACHED, prover=comparison)
    assert comparison.notes == ["rows of 5 tokens were run; numbers up to 6 decide about positions"]
    text = """(%input_ids: i64[B, S]) {
  %i = iota() {size=S, dtype=i64} : i64[S]
  %p = embedding(@places, %i) : f32[S, 8]
  %x = embedding(@table, %input_ids) : f32[B, S, 8]
  %logits = add(%x, %p) : f32[B, S, 8]
  return logits=%logits
}"""
    short = program(text, random_weight("table", 16, 8) + random_weight("places", 10, 8))
    comparison.begin(short)
    assert comparison.notes == []
    assert comparison.check(Canonicalize(), short).status == "exact"


def test_a_program_that_runs_at_no_length_cannot_be_proven() -> None:
    text = """(%input_ids: i64[B, S]) {
  %c = constant() {value=99, dtype=i64, shape=[B, S]} : i64[B, S]
  %ids = add(%input_ids, %c) : i64[B, S]
  %logits = embedding(@t, %ids) : f32[B, S, 2]
  return logits=%logits
}"""
    broken = program(text, random_weight("t", 4, 2))
    with pytest.raises(PassError, match=r"'test' cannot be proven: it runs with none of 104, 28, 8, 6, 1 tokens"):
        InterpreterProver().begin(broken)


def test_a_large_program_is_proven_on_two_of_its_equal_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prover, "LARGE", 100)
    subject = language_model(('"causal"',) * 5)
    comparison = InterpreterProver()
    report = run_passes(subject, CACHED, prover=comparison)
    assert comparison.notes == [
        "proven on the program without 3 of its layers, layers.2 to layers.4: each is equal to two that were kept"
    ]
    assert report.records[0].proof is not None
    assert report.records[0].proof.status == "proven"
    assert len(subject.graphs["prefill"].outputs) == 11
    wrong = Spoils(attribute(ops.rms_norm, "prefill", 1, epsilon=0.0))
    with pytest.raises(ProofError, match=r"rms_norm at layers\.1\.norm"):
        run_passes(language_model(('"causal"',) * 5), [InsertKVCache(), wrong], prover=InterpreterProver())


def test_near_zero_tokens_are_among_the_rows() -> None:
    """Without them an epsilon of 1e-6 more or less would pass for rounding at most places."""
    comparison = InterpreterProver()
    comparison.begin(language_model())
    trial = comparison._comparison.trial
    assert isinstance(trial, LanguageTrial)
    assert all(int((row <= 2).sum()) >= 2 for row in trial.rows)
    assert torch.cat(trial.rows).max() < 16


MANY = """(%x: f32[B, S, 4], %count: i64[B]) {
  %y = exp(%x) : f32[B, S, 4]  at act
  %c = cast(%count) {dtype=f32} : f32[B]
  %r = reshape(%c) {shape=[B, 1, 1]} : f32[B, 1, 1]
  %z = mul(%y, %r) : f32[B, S, 4]  at scale
  return y=%y, z=%z
}"""


def test_an_output_that_is_gone_or_new() -> None:
    error = failure(program(MANY), Spoils(lambda p: p.graphs["forward"].outputs.pop("z")))
    assert str(error).endswith("graph 'forward' gives y, where it gave y, z")
    twice = Spoils(lambda p: p.graphs["forward"].outputs.update(w=p.graphs["forward"].outputs["y"]))
    assert str(failure(program(MANY), twice)).endswith("gives w, y, z, where it gave y, z")


def test_integers_that_are_no_mask_are_asked_for_too() -> None:
    def drop(subject: Program) -> None:
        graph = subject.graphs["forward"]
        op = find(graph, ops.mul)
        graph.replace(op.result, op.inputs[0])
        graph.erase_dead()

    assert "integers that count" in str(failure(program(MANY), Spoils(drop)))


def test_logits_beside_other_outputs_are_not_all_that_counts() -> None:
    subject = language_model()
    graph = subject.graphs["forward"]
    graph.outputs["hidden"] = find(graph, ops.add, 0).result

    def other(spoilt: Program) -> None:
        inner = spoilt.graphs["forward"]
        inner.outputs["hidden"] = find(inner, ops.glu).result

    assert failure(subject, Spoils(other)).each == "spoils"


def test_an_overflow_at_few_places() -> None:
    text = "(%x: f16[B, S, 4]) {\n %y = exp(%x) : f16[B, S, 4]  at act\n return y=%y\n}"

    def overflow(subject: Program) -> None:
        graph = subject.graphs["forward"]
        op = find(graph, ops.exp)
        build = Builder(graph, op, "act")
        graph.set_operand(op, 0, build(ops.mul, build(ops.mul, op.inputs[0], 32768.0), 2.0**-15))

    assert "of them overflow, 0 did before" in str(failure(program(text), Spoils(overflow)))


def test_a_window_in_a_table_is_passed() -> None:
    table = ", ".join("1.0" if abs(i - j) < 40 else "0.0" for i in range(60) for j in range(60))
    subject = program(
        """(%x: f32[B, S]) {
  %i = iota() {size=S, dtype=i64} : i64[S]
  %rows = slice(@near) {axis=0, stop=S} : f32[S, 60]
  %mask = slice(%rows) {axis=1, stop=S} : f32[S, S]
  %y = matmul(%x, %mask) : f32[B, S]  at mix
  return y=%y
}""",
        f"weight @near : f32[60, 60] = data([{table}]) : f32[60, 60]\n",
    )

    def everything(spoilt: Program) -> None:
        graph = spoilt.graphs["forward"]
        op = find(graph, ops.matmul)
        build = Builder(graph, op, "mix")
        mask = op.inputs[1]
        graph.set_operand(op, 1, build(ops.add, build(ops.mul, mask, 0.0), 1.0))

    assert "S=60" in str(failure(subject, Spoils(everything)))


def test_a_fault_in_a_layer_that_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prover, "LARGE", 100)

    def third(subject: Program) -> None:
        for op in subject.graphs["forward"]:
            if op.location == "layers.3.norm":
                op.attributes["epsilon"] = 0.0

    error = failure(language_model(('"causal"',) * 5), Spoils(third))
    assert error.location == "layers.3"
    assert "does with layers.3 what it does with no layer that was kept" in str(error)


def test_notices_are_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not again for the copy that a large program is proven on."""
    monkeypatch.setattr(prover, "LARGE", 100)
    subject = language_model(('"causal"',) * 5)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        run_passes(subject, [Spoils(lambda _: notify("said once"))], prover=InterpreterProver())
    assert [str(each.message) for each in given] == ["said once"]


def test_a_pass_that_replaces_what_a_weight_is_made_of_is_seen() -> None:
    def larger(subject: Program) -> None:
        weight = subject.weights["o.0"]
        weight.expression = StoredArray.of(weight.evaluate() * 1.01)

    subject = language_model()
    kept = subject.weights["o.0"].expression
    assert failure(subject.clone(), Spoils(larger)).location == "layers.0.attn.o"
    assert subject.weights["o.0"].expression is kept
    (record,) = run_passes(subject, [Lossy(larger)], prover=InterpreterProver()).records
    assert record.proof is not None
    assert record.proof.logit_error is not None
    assert record.proof.logit_error > 1e-3


def test_widening_may_round_constants_otherwise() -> None:
    text = """(%input_ids: i64[B, S]) {
  %one = constant() {value=1.0, dtype=bf16} : bf16[]
  %w = add(@scale, %one) : bf16[8]
  %x = embedding(@table, %input_ids) : bf16[B, S, 8]
  %logits = mul(%x, %w) : bf16[B, S, 8]
  return logits=%logits
}"""
    passes = [ConvertDType(to="f32"), Canonicalize()]
    report = run_passes(program(text, IN_BFLOAT16[1]), passes, prover=InterpreterProver())
    assert [r.proof.status for r in report.records if r.proof is not None] == ["proven", "proven"]
