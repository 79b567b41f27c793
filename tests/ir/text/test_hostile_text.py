"""Text made to take forever: each is refused at once, in one line that names the place."""

from __future__ import annotations

import time

import pytest

from graphwright.ir import IRTypeError, TextError, parse_program
from graphwright.ir.dims import HIGHEST_DEGREE, MOST_TERMS, Dim, parse_dim, product
from tests.ir.text.test_errors import HEAD, graph

SECONDS = 1.0
"""Of the processor. Each takes a fraction of one; what is refused here could take minutes."""

SYMBOLS = [f"A{i}" for i in range(3000)]
WEIGHT = HEAD + "weight @w : {} = data([1.0]) : f32[1]"
CASES = [
    ('program "p" {a=' + "9" * 1_000_000 + "}", "1:16: integer 99999999999999999999… has 1000000 digits"),
    ('program "p" {a=' + "9" * 4000 + "}", "1:16: integer 99999999999999999999… has 4000 digits"),
    ('program "p" {a=1+2*' + "9" * 4000 + "}", "1:16: integer 99999999999999999999… has 4000 digits"),
    ('program "p" {a=[1, ' + "9" * 4000 + "]}", "1:20: integer 99999999999999999999… has 4000 digits"),
    ('program "p" {a=' + "9" * 1_000_000 + ".5}", "1:16: a number has 1000002 characters"),
    ('program "p" {a=' + "[" * 20_000 + "}", "1:80: nested too deeply"),
    ('program "p" {a=' + "*".join(["S"] * 5000) + "}", "1:16: a dimension multiplies 33 symbols"),
    ('program "p" {a=' + "*".join(["9999999999"] * 5000) + "}", "1:16: a dimension has an integer of more than 256"),
    (graph(inputs="%x: f32[1, " + "+".join(SYMBOLS) + "]"), "2:20: a dimension has 65 terms, at most 64"),
    (graph(inputs="%x: f32[1, " + "-".join(SYMBOLS) + "]"), "2:20: a dimension has 65 terms, at most 64"),
    (graph("%0 = slice(%x) {axis=0, start=" + "9" * 5000 + ", stop=3} : f32[S]"), "3:33: integer 9999"),
    (
        # (A0+...+A39) to the power of 40 elements
        graph(
            "%0 = reshape(%x) {shape=[S]} : f32[S]",
            inputs="%x: f32[" + ", ".join(["+".join(SYMBOLS[:40])] * 40) + "]",
        ),
        "3:8: reshape: a product of dimensions has 40 by 40 terms",
    ),
    (
        graph(
            "%0 = reshape(%x) {shape=[S]} : f32[S]",
            inputs="%x: f32[" + ", ".join(f"{a}+{b}" for a, b in zip(SYMBOLS, SYMBOLS[20:], strict=False)) + "]",
        ),
        "3:8: reshape: a dimension has 128 terms",
    ),
    (
        graph("%0 = reshape(%x) {shape=[S]} : f32[S]", inputs="%x: f32[" + ", ".join(SYMBOLS) + "]"),
        "3:8: reshape: a dimension multiplies 33 symbols",
    ),
    (HEAD + "weight @w : f32[2] = " + "exp(" * 5000, "2:282: nested too deeply"),
    (WEIGHT.format("q4<g" + "9" * 5000 + ", sym>[2, 2]"), "2:16: 'g9999999999999999999' is not a group"),
    (WEIGHT.format("q4<g², sym>[2, 2]"), "2:16: 'g²' is not a group"),
    (WEIGHT.format("q" + "9" * 5000 + "<g32, sym>[2, 2]"), "2:13: there are no codes of 999"),
    (WEIGHT.format("f32[99999999999, 99999999999]"), "2:8: weight 'w' is declared f32[99999999999, 99999999999], its"),
    (graph("%0 = " + "a" * 200_000 + "(%x) : f32[S, 2]"), "3:8: there is no op 'aaa"),
    (graph('%0 = exp(%"a\\nb\\\x1b") : f32[S, 2]'), r"3:12: '%a\nb\x1b' is not defined"),
]


@pytest.mark.parametrize(("text", "message"), CASES, ids=[text[:40] + str(i) for i, (text, _) in enumerate(CASES)])
def test_what_would_take_forever(text: str, message: str) -> None:
    begin = time.process_time()
    with pytest.raises(TextError) as failure:
        parse_program(text)
    assert time.process_time() - begin < SECONDS
    said = str(failure.value)
    assert said.startswith(f"<text>:{message}")
    assert said.isprintable()
    assert len(said) < 1000


def test_limits_of_dimensions() -> None:
    """At a limit a size is kept, past it refused, however it is made."""
    most = sum((Dim.of(s) for s in SYMBOLS[:MOST_TERMS]), Dim.of(0))
    assert parse_dim(str(most)) is most
    with pytest.raises(IRTypeError, match="65 terms"):
        _ = most + Dim.of("Z")
    highest = product([Dim.of("S")] * HIGHEST_DEGREE)
    assert highest.evaluate({"S": 2}) == 2**HIGHEST_DEGREE
    with pytest.raises(IRTypeError, match="multiplies 33 symbols"):
        _ = highest * Dim.of("S")
    with pytest.raises(IRTypeError, match="more than 256 bits"):
        product([Dim.of(1 << 62)] * 5)
    with pytest.raises(IRTypeError, match="a product of dimensions has 64 by 64 terms"):
        _ = most * most
    with pytest.raises(IRTypeError, match="has 41 digits"):
        parse_dim("1" * 41)
