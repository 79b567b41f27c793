from __future__ import annotations

import warnings

import pytest

from graphwright.ir import Notice, print_graph
from graphwright.passes import run_passes
from graphwright.passes.proving import InterpreterProver
from graphwright.passes.raising.attention import RaiseAttention
from graphwright.passes.simplifying.convert_dtype import ConvertDType
from tests.passes.graphs import program, random_weight

WIDE = random_weight("w", 4, 4)
NARROW = WIDE.replace("f32", "bf16")

PAIR = """(%x: f32[B, S, 4]) {
  %0 = linear(%x, @w) : f32[B, S, 4]
  %1 = cast(%0) {dtype=bf16} : bf16[B, S, 4]  at block
  %2 = cast(%1) {dtype=f32} : f32[B, S, 4]  at block
  %y = linear(%2, @w) : f32[B, S, 4]
  return y=%y
}"""

BETWEEN = """(%x: f32[B, S, 4]) {
  %0 = linear(%x, @w) : f32[B, S, 4]
  %1 = cast(%0) {dtype=bf16} : bf16[B, S, 4]  at block
  %2 = transpose(%1) {permutation=[1, 0, 2]} : bf16[S, B, 4]  at block
  %3 = mul(%2, %2) : bf16[S, B, 4]  at block
  %4 = add(%3, %2) : bf16[S, B, 4]  at block
  %5 = cast(%4) {dtype=f32} : f32[S, B, 4]  at block
  return y=%5
}"""

BACK = """(%x: bf16[B, S, 4]) {
  %0 = linear(%x, @w) : bf16[B, S, 4]
  %1 = cast(%0) {dtype=f32} : f32[B, S, 4]
  %2 = exp(%1) : f32[B, S, 4]
  %3 = cast(%2) {dtype=bf16} : bf16[B, S, 4]
  %4 = linear(%3, @w) : bf16[B, S, 4]
  return y=%4
}"""


def converted(text: str, weights: str, to: str = "f32") -> tuple[str, dict[str, int]]:
    """The text after the pass, which the prover saw, and what the pass counted."""
    subject = program(text, weights)
    report = run_passes(subject, [ConvertDType(to=to)], prover=InterpreterProver())  # pyright: ignore[reportArgumentType]  # of the parameters below
    return print_graph(subject.graphs["forward"]), report.records[0].hits


def test_a_rounding_that_was_written_in_a_wide_program_stays() -> None:
    text, hits = converted(PAIR, WIDE)
    assert text == print_graph(program(PAIR, WIDE).graphs["forward"])
    assert hits == {"rounding-kept": 1}


def test_what_is_computed_between_two_casts_is_told() -> None:
    with pytest.warns(Notice, match=r"^2 results are computed in f32 and no longer rounded .* most of them in block;"):
        text, hits = converted(BETWEEN, WIDE)
    assert hits == {"rounding-kept": 1, "no-longer-rounded": 2, "converted": 3}
    assert text.count("bf16[") == 1
    assert text.count("dtype=bf16") == 1


@pytest.mark.parametrize("text", [BACK, BACK.replace("bf16", "f16")], ids=["bf16", "f16"])
def test_casts_back_to_the_type_of_the_weights_go(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Notice)
        text, hits = converted(text, WIDE.replace("f32", "f16") if "bf16" not in text else NARROW)
    assert "f16" not in text
    assert hits.keys() == {"converted"}


def test_the_type_of_most_elements_decides() -> None:
    few = random_weight("b", 4)
    text = PAIR.replace("%0 = linear(%x, @w)", "%0 = mul(%x, @b)").replace("linear(%2, @w)", "mul(%2, @b)")
    assert converted(text, few)[1] == {"rounding-kept": 1}
    # a float32 scale in a program of bfloat16 matrices: its casts lead back to them
    mixed = PAIR.replace("%0 = linear(%x, @w) : f32", "%0 = mul(%x, @b) : f32").replace(
        "%2 = cast(%1) {dtype=f32} : f32[B, S, 4]  at block\n  %y = linear(%2, @w) : f32",
        "%y = linear(%1, @w) : bf16",
    )
    assert "dtype=bf16" not in converted(mixed, few + NARROW)[0]


def test_integers_and_floats_of_other_widths() -> None:
    text = """(%x: f32[B, 4], %i: i64[B, 4], %m: bool[B, 4]) {
  %0 = cast(%i) {dtype=bf16} : bf16[B, 4]
  %1 = cast(%m) {dtype=bf16} : bf16[B, 4]
  %2 = cast(%x) {dtype=f16} : f16[B, 4]
  %3 = cast(%2) {dtype=bf16} : bf16[B, 4]
  %4 = cast(%2) {dtype=f16} : f16[B, 4]
  return a=%0, b=%1, c=%2, d=%3, e=%4
}"""
    # 257 is no bfloat16; a truth value is one; float16 and bfloat16 do not hold each other's numbers
    assert converted(text, "")[1]["rounding-kept"] == 3


def test_float32_in_a_float64_program() -> None:
    wide = PAIR.replace("f32", "f64").replace("bf16", "f32")
    weights = WIDE.replace("f32", "f64")
    assert converted(wide, weights, "f64")[1] == {"rounding-kept": 1}


def test_scores_that_are_rounded_are_not_taken_for_attention() -> None:
    text = """(%q: f32[B, 2, S, 4], %k: f32[B, 2, 4, S], %v: f32[B, 2, S, 4]) {{
  %0 = matmul(%q, %k) : f32[B, 2, S, S]
  {rounded}
  %3 = softmax({scores}) {{axis=3}} : f32[B, 2, S, S]
  %4 = matmul(%3, %v) : f32[B, 2, S, 4]
  return y=%4
}}"""
    pair = "%1 = cast(%0) {dtype=bf16} : bf16[B, 2, S, S]\n  %2 = cast(%1) {dtype=f32} : f32[B, 2, S, S]"
    for rounded, scores, raised in (("", "%0", True), (pair, "%2", False)):
        subject = program(text.format(rounded=rounded, scores=scores))
        run_passes(subject, [ConvertDType(), RaiseAttention()])
        assert ("attention(" in print_graph(subject.graphs["forward"])) is raised
