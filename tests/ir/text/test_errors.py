"""Text that is wrong: the message names line and column, and what was expected there."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphwright.ir import TextError, UserError, parse_program
from tests.ir.text.test_round_trip import EXAMPLE

HEAD = 'program "p"\n'
WEIGHT = HEAD + "weight @w : f32[2] = data([1.0, 2.0]) : f32[2]\n"


def graph(*lines: str, inputs: str = "%x: f32[S, 2]", outputs: str = "y=%x") -> str:
    """The first line given is line 3 of the text."""
    return "\n".join([HEAD + f"graph g({inputs}) {{", *(f"  {line}" for line in lines), f"  return {outputs}", "}"])


CASES = [
    # the program
    ("", "1:1: expected 'program', found the end of the text"),
    ("graph g() { return }", "1:1: expected 'program', found 'graph'"),
    ("program p", "1:9: expected a quoted string, found 'p'"),
    (HEAD + "grph g", "2:1: expected 'weight' or 'graph', found 'grph'"),
    ('program "p', "1:9: unterminated string"),
    ('program "p\n"', "1:9: unterminated string"),
    (HEAD + "graph g(%x: f32[S]) ;", "2:21: unexpected character ';'"),
    ('program "p" {a=1, a=2}', "1:19: attribute 'a' is given twice"),
    ('program "p" {a=}', "1:16: expected a value, found '}'"),
    ('program "p" {a 1}', "1:16: expected '=', found '1'"),
    (HEAD + "graph g() { return } graph g() { return }", "2:22: there are two graphs named 'g'"),
    (HEAD + "graph g() {", "2:12: expected a %name, found the end of the text"),
    (HEAD + "graph g([" + "1.0, " * 99 + "2.0]) {", "2:9: expected a %name, found '['"),
    (HEAD + "weight @w : f32[" + "1.0, " * 99 + "2.0]", "2:17: expected a value, found '1.0'"),
    ('program "p" {a=[' + "1.0, " * 9 + "9" * 999 + ".0]}", "1:17: a number has 1001 characters, at most"),
    # ops
    (graph("%0 = ad(%x, %x) : f32[S, 2]"), "3:8: there is no op 'ad': did you mean 'add'?"),
    (graph("%0 = zzzzz(%x) : f32[S, 2]"), "3:8: there is no op 'zzzzz'"),
    (graph("%0 = exp(%y) : f32[S, 2]"), "3:12: '%y' is not defined before this line"),
    (graph("%0 = exp(%0) : f32[S, 2]"), "3:12: '%0' is not defined before this line"),
    (graph("%x = exp(%x) : f32[S, 2]"), "3:3: '%x' is defined twice"),
    (graph("%0, %0 = split(%x) {axis=1, sizes=[1, 1]} : f32[S, 1], f32[S, 1]"), "3:7: '%0' is defined twice"),
    (graph("%0 = exp(%x) : f32[S, 3]"), "3:8: exp gives f32[S, 2], the text says f32[S, 3]"),
    (graph("%0 = exp(%x) : f32[S, 2], f32[S, 2]"), "3:8: exp gives f32[S, 2], the text says f32[S, 2], f32[S, 2]"),
    (graph("%0, %1 = exp(%x) : f32[S, 2]"), "3:3: exp has 1 results, 2 are named"),
    (graph("%0 = exp(%x)"), "4:3: expected ':', found 'return'"),
    (graph("%0 = exp(%x : f32[S, 2]"), "3:15: expected ',', found ':'"),
    (graph("%0 = exp() : f32[S, 2]"), "3:8: exp: operand 'x' is missing"),
    (graph("%0 = exp(%x, %x) : f32[S, 2]"), "3:8: exp: 2 operands given, at most 1 expected"),
    (graph("%0 = exp(y=%x) : f32[S, 2]"), "3:12: exp takes no operand 'y' here"),
    (graph("%0 = exp(@x) : f32[S, 2]"), "3:12: there is no weight '@x'"),
    (graph("%0 = exp(x) : f32[S, 2]"), "3:13: expected '=', found ')'"),
    (graph("exp(%x) : f32[S, 2]"), "3:3: expected a %name, found 'exp'"),
    (graph("%0 = softmax(%x) : f32[S, 2]"), "3:8: softmax: attribute 'axis' is missing"),
    (graph("%0 = softmax(%x) {axis=1.5} : f32[S, 2]"), "3:8: softmax: attribute 'axis' is 1.5, expected int"),
    (graph("%0 = softmax(%x) {axis=true} : f32[S, 2]"), "3:8: softmax: attribute 'axis' is true, expected int"),
    (graph("%0 = softmax(%x) {axis=1, dim=2} : f32[S, 2]"), "3:8: softmax: there is no attribute 'dim'"),
    (graph("%0 = softmax(%x) {axis=7} : f32[S, 2]"), "3:8: softmax: axis 7 is outside a tensor of 2 axes"),
    (
        graph('%0 = activation(%x) {kind="swish"} : f32[S, 2]'),
        "3:8: activation: attribute 'kind' is \"swish\", expected one of 'silu', 'gelu'",
    ),
    (graph("%0 = reshape(%x) {shape=[S, true]} : f32[S, 2]"), "reshape: attribute 'shape' is [S, true], expected Dim"),
    # graphs
    (HEAD + "graph g(x: f32[S]) { return }", "2:9: expected a %name, found 'x'"),
    (HEAD + "graph g(%x: f32[S], %x: f32[S]) { return }", "2:21: there are two inputs named '%x'"),
    (HEAD + "graph g(%x) { return }", "2:11: expected ':', found ')'"),
    (graph(outputs="y=%x, y=%x"), "3:16: there are two outputs named 'y'"),
    (graph(outputs="y=%z"), "3:12: '%z' is not defined before this line"),
    # weights
    (HEAD + "weight w : f32[2]", "2:8: expected a @name, found 'w'"),
    (WEIGHT.replace("f32[2] =", "f32[3] ="), "2:8: weight 'w' is declared f32[3], its value is f32[2]"),
    (WEIGHT + WEIGHT.splitlines()[1], "3:8: there are two weights named 'w'"),
    (WEIGHT.replace("2.0]", "2.0, 3.0]"), "2:22: 3 values do not make a f32[2]"),
    (WEIGHT.replace("f32", "i64"), "2:22: 2 values do not make a i64[2]"),
    (WEIGHT.replace("f32", "f4e2m1"), "2:25: 2 values do not make a f4e2m1[2]"),
    (WEIGHT.replace("f32[2]", "f32[S]"), "2:22: 2 values do not make a f32[S]"),
    (WEIGHT.replace("1.0", '"a"'), "2:22: 2 values do not make a f32[2]"),
    (WEIGHT.replace("[1.0, 2.0]", "[300, 1]").replace("f32", "u8"), "2:21: 2 values do not make a u8[2]"),
    (HEAD + "weight @w : f32[2] = exp(data([1.0]) : f32[1], none) : f32[1]", "exp: 2 operands given, at most 1"),
    (HEAD + "weight @w : f32[2] = exp(none)", "2:22: exp: operand 'x' is missing"),
    (HEAD + "weight @w : f32[2] = add(data([1.0]) : f32[1])", "2:22: add: operand 'y' is missing"),
    (
        HEAD + "weight @w : f32[1] = split(data([1.0, 2.0]) : f32[2]) {axis=0, sizes=[1, 1]}",
        "2:22: split: it has 2 results, a weight is one",
    ),
    (HEAD + 'weight @w : f32[2] = file("a")', "2:30: expected ',', found ')'"),
    (HEAD + "weight @w : f32[2] = transposed()", "2:22: there is no op 'transposed': did you mean 'transpose'?"),
]


@pytest.mark.parametrize(("text", "problem"), CASES)
def test_the_message_says_where_and_what(text: str, problem: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_program(text, "model.gw")
    message = str(caught.value)
    assert problem in message
    assert message.startswith(f"model.gw:{caught.value.line}:{caught.value.column}: ")
    assert "\n" not in message


def test_text_nested_without_end() -> None:
    with pytest.raises(TextError, match="nested too deeply"):
        parse_program('program "p" {a=' + "[" * 100_000)


TOKENS = [*'%()[]{}<>=:,-*@"\n', " %x ", " @w ", " f32 ", " add ", " none ", " 1 ", " 2.5 ", " state ", " return "]


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_damaged_text_is_refused_or_read_and_never_crashes(data: st.DataObject) -> None:
    text = EXAMPLE
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = (
            text[:start] + data.draw(st.one_of(st.just(""), st.sampled_from(TOKENS), st.text(max_size=3))) + text[end:]
        )
    try:
        parse_program(text)
    except UserError as problem:
        assert str(problem)  # noqa: PT017 - either outcome is right
