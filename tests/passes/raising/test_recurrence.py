from __future__ import annotations

import pytest

from graphwright.passes.raising.recurrence import RaiseRecurrence
from graphwright.passes.simplifying.canonicalize import Canonicalize
from tests.passes.graphs import applied, body, program, random_weight

DEPTHWISE = random_weight("w", 4, 1, 3)
FULL = random_weight("w", 6, 2, 3)

CONVOLUTIONS = {
    "its own padding, cut to the sequence": """(%x: f32[B, 4, S]) {
  %y = convolution(%x, @w) {stride=[1], padding=[2, 2], dilation=[1], groups=4} : f32[B, 4, S+2]
  %z = slice(%y) {axis=2, stop=S} : f32[B, 4, S]
  return z=%z
}""",
    "cut from the end": """(%x: f32[B, 4, S]) {
  %y = convolution(%x, @w) {stride=[1], padding=[2, 2], dilation=[1], groups=4} : f32[B, 4, S+2]
  %z = slice(%y) {axis=2, stop=-2} : f32[B, 4, S]
  return z=%z
}""",
    "padding on one side": """(%x: f32[B, 4, S]) {
  %z = convolution(%x, @w) {stride=[1], padding=[2, 0], dilation=[1], groups=4} : f32[B, 4, S]
  return z=%z
}""",
    "zeros joined on": """(%x: f32[B, 4, S]) {
  %0 = constant() {value=0.0, dtype=f32, shape=[B, 4, 2]} : f32[B, 4, 2]
  %j = concat(%0, %x) {axis=2} : f32[B, 4, S+2]
  %z = convolution(%j, @w) {stride=[1], padding=[0, 0], dilation=[1], groups=4} : f32[B, 4, S]
  return z=%z
}""",
    "zeros joined on, and padding": """(%x: f32[B, 4, S]) {
  %0 = constant() {value=0.0, dtype=f32, shape=[B, 4, 1]} : f32[B, 4, 1]
  %j = concat(%0, %x) {axis=2} : f32[B, 4, S+1]
  %y = convolution(%j, @w) {stride=[1], padding=[1, 1], dilation=[1], groups=4} : f32[B, 4, S+1]
  %z = slice(%y) {axis=2, stop=S} : f32[B, 4, S]
  return z=%z
}""",
}


@pytest.mark.parametrize("spelling", CONVOLUTIONS)
def test_a_causal_convolution(spelling: str) -> None:
    after, misses = applied(program(CONVOLUTIONS[spelling], DEPTHWISE), RaiseRecurrence(), Canonicalize())
    assert body(after) == ["causal_conv"]
    assert "causal_conv(%x, @w) {groups=4} : f32[B, 4, S], state<recurrent f32[B, 4, 2]>" in after
    assert not misses


def test_channels_in_groups_and_a_dilation() -> None:
    text = """(%x: f32[B, 4, S], %b: f32[6]) {
  %z = convolution(%x, @w) {stride=[1], padding=[4, 0], dilation=[2], groups=2} : f32[B, 6, S]
  return z=%z
}"""
    after, _ = applied(program(text, FULL), RaiseRecurrence())
    assert "causal_conv(%x, @w) {groups=2, dilation=2} : f32[B, 6, S], state<recurrent f32[B, 4, 4]>" in after


NOT_CAUSAL = {
    "it looks ahead": (
        """  %z = convolution(%x, @w) {stride=[1], padding=[1, 1], dilation=[1], groups=4} : f32[B, 4, S]
  return z=%z""",
        "1 zeros before the tokens under a window that reaches 2 back",
    ),
    "it is late": (
        """  %y = convolution(%x, @w) {stride=[1], padding=[3, 0], dilation=[1], groups=4} : f32[B, 4, S+1]
  %z = slice(%y) {axis=2, stop=S} : f32[B, 4, S]
  return z=%z""",
        "3 zeros before the tokens under a window that reaches 2 back",
    ),
    "its end is used": (
        """  %y = convolution(%x, @w) {stride=[1], padding=[2, 2], dilation=[1], groups=4} : f32[B, 4, S+2]
  %z = slice(%y) {axis=2, start=2, stop=S+2} : f32[B, 4, S]
  return z=%z""",
        "its results beyond the sequence's length are used",
    ),
    "it is used whole": (
        """  %y = convolution(%x, @w) {stride=[1], padding=[2, 2], dilation=[1], groups=4} : f32[B, 4, S+2]
  %z = slice(%y) {axis=2, stop=S} : f32[B, 4, S]
  return z=%z, y=%y""",
        "its results beyond the sequence's length are used",
    ),
    "ones before the tokens": (
        """  %0 = constant() {value=1.0, dtype=f32, shape=[B, 4, 2]} : f32[B, 4, 2]
  %j = concat(%0, %x) {axis=2} : f32[B, 4, S+2]
  %z = convolution(%j, @w) {stride=[1], padding=[0, 0], dilation=[1], groups=4} : f32[B, 4, S]
  return z=%z""",
        None,
    ),
}


@pytest.mark.parametrize("case", NOT_CAUSAL)
def test_other_convolutions_are_left_alone(case: str) -> None:
    text, reason = NOT_CAUSAL[case]
    after, misses = applied(program(f"(%x: f32[B, 4, S]) {{\n{text}\n}}", DEPTHWISE), RaiseRecurrence())
    assert "causal_conv" not in after
    assert [m.reason for m in misses] == ([] if reason is None else [reason])


def test_a_window_of_one_and_other_axes_are_no_recurrence() -> None:
    text = """(%x: f32[B, 4, 7], %t: f32[B, 4, S], %v: f32[4, 4, 1]) {
  %y = convolution(%x, @w) {stride=[1], padding=[2, 0], dilation=[1], groups=4} : f32[B, 4, 7]
  %z = convolution(%t, @one) {stride=[1], padding=[0, 0], dilation=[1]} : f32[B, 4, S]
  return y=%y, z=%z
}"""
    after, misses = applied(program(text, DEPTHWISE + random_weight("one", 4, 4, 1)), RaiseRecurrence())
    assert body(after) == ["convolution", "convolution"]
    assert not misses


@pytest.mark.parametrize(
    ("shape", "axis", "ops"),
    [("B, S, 4", 1, ["transpose", "causal_conv", "transpose"]), ("B, 4, S", 2, ["causal_conv"])],
)
def test_tokens_moved_on_by_a_place(shape: str, axis: int, ops: list[str]) -> None:
    one, others = shape.replace("S", "1"), shape.replace("S", "S-1")
    text = f"""(%x: f32[{shape}]) {{
  %0 = constant() {{value=0.0, dtype=f32, shape=[{one}]}} : f32[{one}]
  %1 = slice(%x) {{axis={axis}, stop=S-1}} : f32[{others}]
  %y = concat(%0, %1) {{axis={axis}}} : f32[{shape}]
  return y=%y
}}"""
    after, _ = applied(program(text), RaiseRecurrence())
    # The concatenation that is left is the window's.
    assert [name for name in body(after) if name != "concat"] == ops


def test_running_sums_of_the_tokens_data() -> None:
    text = """(%x: f32[B, S, 4], %m: bool[B, S]) {
  %y = cumsum(%x) {axis=-2} : f32[B, S, 4]
  %n = cumsum(%m) {axis=1} : i64[B, S]
  return y=%y, n=%n
}"""
    after, _ = applied(program(text), RaiseRecurrence())
    assert body(after) == ["running_sum", "cast", "running_sum"]
    assert "state<recurrent f32[B, 4]>" in after
    assert "state<recurrent i64[B]>" in after


def test_running_sums_of_positions_or_features_stay() -> None:
    text = """(%x: f32[B, S, 4]) {
  %i = constant() {value=1, dtype=i64, shape=[B, S]} : i64[B, S]
  %n = cumsum(%i) {axis=1} : i64[B, S]
  %y = cumsum(%x) {axis=2} : f32[B, S, 4]
  %z = cumsum(%x) {axis=0} : f32[B, S, 4]
  return n=%n, y=%y, z=%z
}"""
    after, _ = applied(program(text), RaiseRecurrence())
    assert body(after) == ["cumsum", "cumsum", "cumsum"]
