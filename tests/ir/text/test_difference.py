"""Differences of programs' texts."""

from __future__ import annotations

from graphwright.passes import difference

BEFORE = """graph f(%x: f32[B]) {
  %0 = exp(%x) : f32[B]
  %1 = sin(%0) : f32[B]
  %2 = cos(%1) : f32[B]
  %3 = add(%2, %0) : f32[B]
  return y=%3
}
"""


def test_equal_texts() -> None:
    assert difference(BEFORE, BEFORE) == ""


def test_what_only_got_another_number_is_no_difference() -> None:
    after = """graph f(%x: f32[B]) {
  %0 = exp(%x) : f32[B]
  %1 = tanh(%0) : f32[B]
  %2 = abs(%1) : f32[B]
  %3 = cos(%2) : f32[B]
  %4 = add(%3, %0) : f32[B]
  return y=%4
}
"""
    assert difference(BEFORE, after).splitlines()[1:] == [
        " graph f(%x: f32[B]) {",
        "   %0 = exp(%x) : f32[B]",
        "-  %1 = sin(%0) : f32[B]",
        "-  %2 = cos(%1) : f32[B]",
        "+  %4 = tanh(%0) : f32[B]",
        "+  %5 = abs(%4) : f32[B]",
        "+  %2 = cos(%5) : f32[B]",
        "   %3 = add(%2, %0) : f32[B]",
        "   return y=%3",
    ]


def test_another_operand_is_a_difference() -> None:
    after = BEFORE.replace("add(%2, %0)", "add(%2, %1)")
    changed = [line for line in difference(BEFORE, after).splitlines() if line[0] in "+-"]
    assert changed == ["-  %3 = add(%2, %0) : f32[B]", "+  %3 = add(%2, %1) : f32[B]"]


def test_graphs_have_numbers_of_their_own() -> None:
    two = BEFORE + "\n" + BEFORE.replace("graph f", "graph g")
    after = BEFORE.replace("  %1 = sin(%0) : f32[B]\n", "").replace("cos(%1)", "cos(%0)") + (
        "\n" + BEFORE.replace("graph f", "graph g")
    )
    changed = [line for line in difference(two, after).splitlines() if line[0] in "+-"]
    assert changed == ["-  %1 = sin(%0) : f32[B]", "-  %2 = cos(%1) : f32[B]", "+  %2 = cos(%0) : f32[B]"]
