"""Each lowering pass on IR text: what it makes, and what it must leave alone and why."""

from __future__ import annotations

import pytest

from graphwright.compiling.targets import find_pipeline
from graphwright.ir import UnsupportedError, UserError, parse_program, print_graph
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.lowering.decoders import ONE_GRAPH
from graphwright.passes.lowering.ort import to_dialect
from graphwright.passes.proving import InterpreterProver
from tests.backends.models import LLAMA, MODELS, decoder
from tests.passes.graphs import applied, program, random_weight

W = random_weight("w", 4, 4)
SCALE = random_weight("s", 4)
LINEAR = "(%x: f32[B, 4]) {\n  %y = linear(%x, @w) : f32[B, 4]  at layer\n  return y=%y\n}"
NORM = """(%x: f32[B, 4], %z: f32[B, 4]) {
  %a = add(%x, %z) : f32[B, 4]
  %y = rms_norm(%a, @s) {epsilon=0.001} : f32[B, 4]  at layer
  return y=%y, a=%a
}"""
WIDE_NORM = """(%x: f64[B, 4], %w: f64[4]) {
  %y = rms_norm(%x, %w) {epsilon=0.001} : f64[B, 4]  at layer
  return y=%y
}"""
ATTENTION = """(%q: f32[B, 2, S, 8], %k: f32[B, 2, S, 8], %v: f32[B, 2, S, 8], %p: i64[1, S]) {
  %y = attention(%q, %k, %v, %p) {scale=0.5, mask="causal"} : f32[B, 2, S, 8]  at layer
  return y=%y
}"""


def test_a_linear_becomes_a_product_with_the_transposed_weight() -> None:
    text, _ = applied(program(LINEAR, W), *parse_passes("ort-linear"))
    assert "matmul(%x, @w.transposed)" in text
    computed = LINEAR.replace("(%x: f32[B, 4])", "(%x: f32[B, 4], %w: f32[4, 4])").replace("@w", "%w")
    text, _ = applied(program(computed), *parse_passes("ort-linear"))
    assert "linear(%x, %w)" in text


def test_a_sum_and_its_norm_are_one_operator_where_the_dialect_has_it() -> None:
    text, _ = applied(program(NORM, SCALE), *parse_passes("ort-skip-norms"))
    assert "ort.skip_rms_norm(%x, %z, @s)" in text
    text, _ = applied(program(NORM, SCALE), *parse_passes("ort-skip-norms{dialect=portable}"))
    assert "rms_norm(" in text
    assert "ort." not in text


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("%z: f32[B, 4]", "%z: f32[4]", "the sum is of f32[B, 4] and f32[4]"),
        ("f32[B, 4]", "f32[B, 1, 1, 4]", "ort: a sum of 4 axes before a norm"),
        ("rms_norm(%a, @s)", "layer_norm(%a)", "it has no weight"),
    ],
)
def test_a_sum_and_a_norm_that_the_operator_does_not_take_stay(old: str, new: str, reason: str) -> None:
    text, misses = applied(program(NORM.replace(old, new), SCALE), *parse_passes("ort-skip-norms"))
    assert "ort." not in text
    assert [miss.reason for miss in misses] == [reason]


def test_attention_becomes_the_standard_operator_with_a_mask() -> None:
    text, _ = applied(program(ATTENTION), *parse_passes("ort-attention"))
    assert "onnx.attention(" in text
    assert "le(" in text
    sinks = ATTENTION.replace("%p: i64[1, S])", "%p: i64[1, S], %n: f32[2])").replace("%v, %p)", "%v, %p, sinks=%n)")
    text, misses = applied(program(sinks), *parse_passes("ort-attention"))
    assert " attention(" in text
    assert [str(m) for m in misses] == ["masked-attention at layer: onnx.attention has no sinks"]


def test_what_the_table_refuses_is_spelt_out_with_the_reason() -> None:
    text, misses = applied(program(WIDE_NORM), *parse_passes("ort-decompose"))
    assert "rms_norm" not in text
    assert [str(m) for m in misses] == ["decompose at layer: ort takes no f64 in rms_norm"]
    text, misses = applied(program(NORM, SCALE), *parse_passes("ort-decompose"))
    assert "rms_norm" in text
    assert not misses


def test_the_last_pass_refuses_what_is_left() -> None:
    refused = program("(%x: f64[B]) {\n  %y = erf(%x) : f64[B]  at layer\n  return y=%y\n}")
    with pytest.raises(UnsupportedError, match=r"^erf at layer: ort takes no f64 in erf, and there is no way to"):
        run_passes(refused, to_dialect("ort"))


def test_near_misses_outlive_the_fallback() -> None:
    """What kept attention from the best operator is told, though another one took its place."""
    for name, rule in (("alibi", "group-query-attention"), ("stories", "group-query-attention: rotary inside")):
        report = run_passes(decoder(MODELS[name]), to_dialect("ort"))
        assert {m.location for m in report.near_misses if m.rule == rule} == {"layers.0", "layers.1"}


def test_findings_are_declared() -> None:
    for name in ("llama", "stories", "alibi", "mixed-heads", "gpt2"):
        program = decoder(MODELS[name])
        for each in to_dialect("ort"):
            outcome = each.run(program)
            found = {*outcome.hits, *(m.rule for m in outcome.near_misses)}
            assert found <= set(each.rule_names()), each.name


def test_phases_merge_where_they_are_the_same() -> None:
    source = decoder(LLAMA)
    (record,) = run_passes(source, parse_passes("merge-phases")).records
    assert list(source.graphs) == ["prefill"]
    assert record.hits == {"phase-merged": 1}
    run_passes(source, parse_passes("specialize{one_row=true, verify=3}, merge-phases"))
    assert list(source.graphs) == ["prefill"]
    source = decoder(LLAMA)
    graph = source.graphs["decode"]
    graph.outputs["logits"] = next(op for op in graph if op.name == "linear" and op.location == "head").inputs[0]
    with pytest.raises(UserError, match="graphs 'prefill' and 'decode' differ in more than the number of tokens"):
        run_passes(source, parse_passes("merge-phases"))


def test_logits_leave_in_float32() -> None:
    text = """program "test"
graph prefill(%x: bf16[B, N, 4]) {
  return logits=%x
}
"""
    source = parse_program(text)
    (record,) = run_passes(source, parse_passes("float32-logits")).records
    assert "cast(%x) {dtype=f32}" in print_graph(source.graphs["prefill"])
    assert record.hits == {"logits-cast": 1}
    (record,) = run_passes(source, parse_passes("float32-logits")).records
    assert not record.changed


ENCODED = """program "test"
graph encode(%input_ids: i64[B, S], %context_length: i64[B]) {
  %x = cast(%input_ids) {dtype=f32} : f32[B, S]
  return context.0=%x
}
graph prefill(%input_ids: i64[B, S], %context.0: f32[B, T]) {
  %y = cast(%input_ids) {dtype=f32} : f32[B, S]
  return logits=%y
}
"""


def test_the_context_of_an_encoder_has_a_length_of_its_own() -> None:
    source = parse_program(ENCODED)
    (record,) = run_passes(source, parse_passes("name-context-length")).records
    assert "graph encode(%input_ids: i64[B, T], %context_length: i64[B])" in print_graph(source.graphs["encode"])
    assert record.hits == {"context-length-named": 1}
    alone = parse_program(ENCODED)
    del alone.graphs["encode"]
    (record,) = run_passes(alone, parse_passes("name-context-length")).records
    assert not record.changed
    with pytest.raises(
        UserError, match=r"graph 'encode': 'context.0' is f32\[B, T\], graph 'prefill' takes f32\[B, 5\]"
    ):
        run_passes(parse_program(ENCODED.replace("f32[B, T]", "f32[B, 5]")), parse_passes("name-context-length"))
    two = ENCODED.replace("%context_length: i64[B])", "%pixels: f32[B, S])")
    with pytest.raises(UserError, match="graph 'encode' encodes input_ids, pixels; it must be one context"):
        run_passes(parse_program(two), parse_passes("name-context-length"))


def test_a_dialect_is_one_that_there_is() -> None:
    with pytest.raises(UserError, match="dialect is 'tensorrt'; it must be one of ort, ort-cuda, portable"):
        to_dialect("tensorrt")
    assert find_pipeline("cpu-onnx")[-len(to_dialect("ort")) :] == to_dialect("ort")
    assert find_pipeline("cuda-onnx")[-len(to_dialect("ort-cuda")) :] == to_dialect("ort-cuda")


@pytest.mark.parametrize(
    ("dialect", "release", "message"),
    [
        ("ort", "1.30", r"dialect 'ort' has no form for ONNX Runtime 1\.30: there is 1\.31 or 1\.32"),
        ("ort-cuda", "1.32", r"dialect 'ort-cuda' has no form for ONNX Runtime 1\.32: there is 1\.31"),
        ("portable", "1.32", r"no form for ONNX Runtime 1\.32: there is none, as it is for any runtime"),
    ],
)
def test_a_release_is_one_that_there_is_a_table_for(dialect: str, release: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        to_dialect(dialect, release)


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", ["llama", "mixed-heads"])
def test_every_pass_is_proven(name: str, dialect: str) -> None:
    passes = (*ONE_GRAPH, *to_dialect(dialect))
    report = run_passes(decoder(MODELS[name]), passes, prover=InterpreterProver())
    assert [r.name.partition("{")[0] for r in report.records] == [each.name for each in passes]
    statuses = {r.name.partition("{")[0]: r.proof.status for r in report.records if r.proof is not None}
    assert len(statuses) == len(passes)
    assert statuses["ort-linear"] == "proven"
    assert statuses["ort-accepted"] == "exact"
