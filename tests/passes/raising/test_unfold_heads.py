from __future__ import annotations

from graphwright.passes.raising.unfold_heads import UnfoldHeads
from graphwright.passes.simplifying.canonicalize import Canonicalize
from tests.passes.graphs import applied, program

FOLDED = """(%q: f32[B, 2, S, 4], %k: f32[B, 2, 4, S], %v: f32[B, 2, S, 4], %bias: f32[S, S]) {
  %0 = reshape(%q) {shape=[2*B, S, 4]} : f32[2*B, S, 4]
  %1 = reshape(%k) {shape=[2*B, 4, S]} : f32[2*B, 4, S]
  %2 = reshape(%v) {shape=[2*B, S, 4]} : f32[2*B, S, 4]
  %3 = matmul(%0, %1) : f32[2*B, S, S]
  %4 = add(%3, %bias) : f32[2*B, S, S]
  %5 = softmax(%4) {axis=2} : f32[2*B, S, S]
  %6 = matmul(%5, %2) : f32[2*B, S, 4]
  %y = reshape(%6) {shape=[B, 2, S, 4]} : f32[B, 2, S, 4]
  return y=%y
}"""

UNFOLDED = """graph forward(%q: f32[B, 2, S, 4], %k: f32[B, 2, 4, S], %v: f32[B, 2, S, 4], %bias: f32[S, S]) {
  %0 = matmul(%q, %k) : f32[B, 2, S, S]
  %1 = add(%0, %bias) : f32[B, 2, S, S]
  %2 = softmax(%1) {axis=3} : f32[B, 2, S, S]
  %3 = matmul(%2, %v) : f32[B, 2, S, 4]
  return y=%3
}
"""


def test_folded_batch_and_heads_are_taken_apart() -> None:
    assert applied(program(FOLDED), UnfoldHeads(), Canonicalize())[0] == UNFOLDED


def test_a_softmax_over_the_folded_axis_keeps_the_fold() -> None:
    before = program(
        """(%x: f32[B, 2, S]) {
  %0 = reshape(%x) {shape=[2*B, S]} : f32[2*B, S]
  %y = softmax(%0) {axis=0} : f32[2*B, S]
  return y=%y
}"""
    )
    assert "softmax(%0) {axis=0} : f32[2*B, S]" in applied(before, UnfoldHeads())[0]


def test_an_operand_folded_otherwise_keeps_the_fold() -> None:
    before = program(
        """(%x: f32[B, 2, S], %y: f32[2, B, S]) {
  %0 = reshape(%x) {shape=[2*B, S]} : f32[2*B, S]
  %1 = reshape(%y) {shape=[2*B, S]} : f32[2*B, S]
  %z = add(%0, %1) : f32[2*B, S]
  return z=%z
}"""
    )
    assert "add(%0, %1) : f32[2*B, S]" in applied(before, UnfoldHeads())[0]


def test_a_repetition_keeps_the_fold() -> None:
    before = program(
        """(%x: f32[B, 2, S], %y: f32[1, S]) {
  %0 = reshape(%x) {shape=[2*B, S]} : f32[2*B, S]
  %1 = expand(%y) {shape=[2*B, S]} : f32[2*B, S]
  %z = expand(%0) {shape=[2*B, S]} : f32[2*B, S]
  %w = add(%z, %1) : f32[2*B, S]
  return w=%w
}"""
    )
    assert "expand(%y) {shape=[2*B, S]}" in applied(before, UnfoldHeads())[0]
