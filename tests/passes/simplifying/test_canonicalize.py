from __future__ import annotations

import pytest

from graphwright.passes.raising.heads import RaiseHeads
from graphwright.passes.simplifying.canonicalize import Canonicalize
from tests.passes.graphs import applied, program, random_weight

W = random_weight("w", 6, 4) + random_weight("b", 6) + random_weight("n", 4)

CASES = {
    "reshapes merge": (
        "%0 = reshape(%x) {shape=[B*S, 4]} : f32[B*S, 4]\n"
        " %1 = reshape(%0) {shape=[S, B, 4]} : f32[S, B, 4]\n return y=%1",
        "  %0 = reshape(%x) {shape=[S, B, 4]} : f32[S, B, 4]\n  return y=%0",
    ),
    "a reshape to the same shape goes": (
        "%0 = reshape(%x) {shape=[B, S, 4]} : f32[B, S, 4]\n return y=%0",
        "  return y=%x",
    ),
    "transposes cancel": (
        "%0 = transpose(%x) {permutation=[1, 2, 0]} : f32[S, 4, B]\n"
        " %1 = transpose(%0) {permutation=[2, 0, 1]} : f32[B, S, 4]\n return y=%1",
        "  return y=%x",
    ),
    "neutral elements": (
        "%0 = constant() {value=1.0, dtype=f32} : f32[]\n %1 = mul(%0, %x) : f32[B, S, 4]\n"
        " %2 = constant() {value=0.0, dtype=f32} : f32[]\n %3 = add(%1, %2) : f32[B, S, 4]\n return y=%3",
        "  return y=%x",
    ),
    "numbers fold": (
        "%0 = constant() {value=2.0, dtype=f32} : f32[]\n %1 = mul(%0, %0) : f32[]\n"
        " %2 = mul(%x, %1) : f32[B, S, 4]\n return y=%2",
        "  %0 = constant() {value=4.0, dtype=f32} : f32[]\n  %1 = mul(%x, %0) : f32[B, S, 4]\n  return y=%1",
    ),
    "equal ops are one": (
        "%0 = neg(%x) : f32[B, S, 4]\n %1 = neg(%x) : f32[B, S, 4]\n %2 = mul(%0, %1) : f32[B, S, 4]\n return y=%2",
        "  %0 = neg(%x) : f32[B, S, 4]\n  %1 = mul(%0, %0) : f32[B, S, 4]\n  return y=%1",
    ),
    "a stretched one stays": (
        "%0 = constant() {value=1.0, dtype=f32, shape=[2, 1, 1, 1]} : f32[2, 1, 1, 1]\n"
        " %1 = mul(%x, %0) : f32[2, B, S, 4]\n return y=%1",
        "  %0 = constant() {value=1.0, dtype=f32, shape=[2, 1, 1, 1]} : f32[2, 1, 1, 1]\n"
        "  %1 = mul(%x, %0) : f32[2, B, S, 4]\n  return y=%1",
    ),
    "a bias joins its projection": (
        "%0 = linear(%x, @w) : f32[B, S, 6]\n %1 = add(@b, %0) : f32[B, S, 6]\n return y=%1",
        "  %0 = linear(%x, @w, bias=@b) : f32[B, S, 6]\n  return y=%0",
    ),
    "part of a projection is a projection": (
        "%0 = linear(%x, @w, bias=@b) : f32[B, S, 6]\n"
        " %1 = slice(%0) {axis=2, start=2, stop=4} : f32[B, S, 2]\n return y=%1",
        "  %0 = linear(%x, @w.1, bias=@b.1) : f32[B, S, 2]\n  return y=%0",
    ),
    "a projection of flattened rows": (
        "%0 = reshape(%x) {shape=[B*S, 4]} : f32[B*S, 4]\n %1 = linear(%0, @w) : f32[B*S, 6]\n"
        " %2 = reshape(%1) {shape=[B, S, 6]} : f32[B, S, 6]\n return y=%2",
        "  %0 = linear(%x, @w) : f32[B, S, 6]\n  return y=%0",
    ),
    "a projection whose features are reshaped": (
        "%0 = linear(%x, @w) : f32[B, S, 6]\n %1 = reshape(%0) {shape=[B, S, 2, 3]} : f32[B, S, 2, 3]\n return y=%1",
        "  %0 = linear(%x, @w) : f32[B, S, 6]\n"
        "  %1 = reshape(%0) {shape=[B, S, 2, 3]} : f32[B, S, 2, 3]\n  return y=%1",
    ),
    "weights fold": (
        "%0 = constant() {value=1.0, dtype=f32} : f32[]\n %1 = add(@n, %0) : f32[4]\n"
        " %2 = mul(%x, %1) : f32[B, S, 4]\n return y=%2",
        "  %0 = mul(%x, @n.1) : f32[B, S, 4]\n  return y=%0",
    ),
    "a norm goes behind the transpose of heads": (
        "%0 = reshape(%x) {shape=[B, S, 1, 4]} : f32[B, S, 1, 4]\n"
        " %1 = concat(%0, %0) {axis=2} : f32[B, S, 2, 4]\n"
        " %2 = rms_norm(%1, @n) {epsilon=1e-05} : f32[B, S, 2, 4]\n"
        " %3 = transpose(%2) {permutation=[0, 2, 1, 3]} : f32[B, 2, S, 4]\n return y=%3",
        "  %0 = reshape(%x) {shape=[B, S, 1, 4]} : f32[B, S, 1, 4]\n"
        "  %1 = concat(%0, %0) {axis=2} : f32[B, S, 2, 4]\n"
        "  %2 = transpose(%1) {permutation=[0, 2, 1, 3]} : f32[B, 2, S, 4]\n"
        "  %3 = rms_norm(%2, @n) {epsilon=1e-05} : f32[B, 2, S, 4]\n  return y=%3",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_canonicalize(case: str) -> None:
    before, after = CASES[case]
    text, _ = applied(program(f"(%x: f32[B, S, 4]) {{\n {before}\n}}", W), Canonicalize())
    assert text == f"graph forward(%x: f32[B, S, 4]) {{\n{after}\n}}\n"


def test_a_narrowing_cast_of_a_constant_stays() -> None:
    text = "(%x: bf16[B]) {\n %0 = constant() {value=0.1, dtype=f32} : f32[]\n"
    text += " %1 = cast(%0) {dtype=bf16} : bf16[]\n %2 = mul(%x, %1) : bf16[B]\n return y=%2\n}"
    before = program(text)
    after = before.clone()
    Canonicalize().run(after)
    # folded by the op's own reference, so rounded as bfloat16 rounds
    assert "value=0.10009765625, dtype=bf16" in "".join(str(op.attributes) for op in after.graphs["forward"]) or (
        "0.10009765625" in str([op.attributes for op in after.graphs["forward"]])
    )


@pytest.mark.parametrize("axis", [1, -1])
def test_running_sums_of_ones_count(axis: int) -> None:
    ones = "%c = constant() {value=1, dtype=i64, shape=[B, S]} : i64[B, S]"
    counted = f"(%x: f32[B, S]) {{\n  {ones}\n  %y = cumsum(%c) {{axis={axis}}} : i64[B, S]\n  return y=%y\n}}"
    text, _ = applied(program(counted), Canonicalize())
    assert "iota" in text
    assert "cumsum" not in text


def test_heads() -> None:
    text, _ = applied(
        program(
            """(%x: f32[B, S, 4]) {
  %0 = reshape(%x) {shape=[B, S, 2, 2]} : f32[B, S, 2, 2]
  %1 = transpose(%0) {permutation=[0, 2, 1, 3]} : f32[B, 2, S, 2]
  %2 = neg(%1) : f32[B, 2, S, 2]
  %3 = transpose(%2) {permutation=[0, 2, 1, 3]} : f32[B, S, 2, 2]
  %4 = reshape(%3) {shape=[B, S, 4]} : f32[B, S, 4]
  return y=%4
}"""
        ),
        RaiseHeads(),
    )
    assert "split_heads(%x) {heads=2}" in text
    assert "merge_heads(%1) : f32[B, S, 4]" in text


def test_another_order_of_axes_is_no_split_of_heads() -> None:
    text, misses = applied(
        program(
            """(%x: f32[B, S, 4]) {
  %0 = reshape(%x) {shape=[S, B, 2, 2]} : f32[S, B, 2, 2]
  %1 = transpose(%0) {permutation=[0, 2, 1, 3]} : f32[S, 2, B, 2]
  return y=%1
}"""
        ),
        RaiseHeads(),
    )
    assert "split_heads" not in text
    assert any("is not [batch, sequence" in m.reason for m in misses)


SLICE_IDENTITIES = """(%x: f32[B, S, 4], %y: f32[B, S, 3]) {{
  %0 = concat(%x, %y) {{axis=2}} : f32[B, S, 7]
  %1 = slice(%0) {{axis=-1, start={start}, stop={stop}}} : f32[B, S, 2]
  return z=%1
}}"""


def test_a_slice_within_one_part_of_a_concatenation_is_of_that_part() -> None:
    text, _ = applied(program(SLICE_IDENTITIES.format(start=5, stop=7)), Canonicalize())
    assert "slice(%y) {axis=2, start=1, stop=3} : f32[B, S, 2]" in text
    assert "concat" not in text


def test_a_slice_over_two_parts_stays() -> None:
    assert "concat" in applied(program(SLICE_IDENTITIES.format(start=3, stop=5)), Canonicalize())[0]


def test_elements_picked_by_one_index_are_slices() -> None:
    before = program(
        """(%x: f32[1, 9, 4], %i: i64[S]) {
  %0 = reshape(%i) {shape=[1, 1, S, 1]} : i64[1, 1, S, 1]
  %1 = expand(%0) {shape=[1, 1, S, 4]} : i64[1, 1, S, 4]
  %2 = reshape(%1) {shape=[1, S, 4]} : i64[1, S, 4]
  %y = gather_elements(%x, %2) {axis=1} : f32[1, S, 4]
  return y=%y
}"""
    )
    assert "gather(%x, %i) {axis=1} : f32[1, S, 4]" in applied(before, Canonicalize())[0]


def test_elements_picked_each_by_its_own_index_stay() -> None:
    before = program(
        "(%x: f32[4, 5], %i: i64[4, 5]) {\n  %y = gather_elements(%x, %i) {axis=1} : f32[4, 5]\n  return y=%y\n}"
    )
    assert "gather_elements" in applied(before, Canonicalize())[0]
