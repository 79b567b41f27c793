from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphwright.ir import Dim, UserError
from graphwright.ir.dims import parse_dim, product
from tests.ir.strategies import SYMBOLS, dims

BINDINGS = st.fixed_dictionaries({symbol: st.integers(1, 50) for symbol in SYMBOLS})


@given(dims(), dims(), dims())
def test_dimensions_form_a_commutative_ring(a: Dim, b: Dim, c: Dim) -> None:
    # Equality is identity: these compare hash-consed objects.
    assert a + b is b + a
    assert (a + b) + c is a + (b + c)
    assert a * b is b * a
    assert (a * b) * c is a * (b * c)
    assert a * (b + c) is a * b + a * c
    assert a + 0 is a
    assert a * 1 is a
    assert a * 0 is Dim.of(0)
    assert a - a is Dim.of(0)
    assert 3 - a is Dim.of(3) + a * -1


@given(dims(), dims(), BINDINGS)
def test_evaluation_commutes_with_arithmetic(a: Dim, b: Dim, bindings: dict[str, int]) -> None:
    x, y = a.evaluate(bindings), b.evaluate(bindings)
    assert (a + b).evaluate(bindings) == x + y
    assert (a - b).evaluate(bindings) == x - y
    assert (a * b).evaluate(bindings) == x * y


@given(dims(), dims(), BINDINGS)
def test_substitution_is_evaluation_in_two_steps(a: Dim, b: Dim, bindings: dict[str, int]) -> None:
    assert a.substitute({"S": b}).evaluate(bindings) == a.evaluate({**bindings, "S": b.evaluate(bindings)})


@given(dims())
def test_text_is_exact(a: Dim) -> None:
    assert parse_dim(str(a)) is a
    assert Dim.of(str(a)) is a
    assert pickle.loads(pickle.dumps(a)) is a


@given(dims(), dims())
def test_exact_division_inverts_multiplication(a: Dim, b: Dim) -> None:
    if b is Dim.of(0):
        assert (a * b).exact_div(b) is None
    else:
        assert (a * b).exact_div(b) is a


@given(dims(), dims())
def test_a_quotient_times_the_divisor_is_the_dividend(a: Dim, b: Dim) -> None:
    quotient = a.exact_div(b)
    assert quotient is None or quotient * b is a


@pytest.mark.parametrize(
    ("dividend", "divisor", "quotient"),
    [("6*S", "2", "3*S"), ("S*S+2*S+1", "S+1", "S+1"), ("B*P+B*S", "P+S", "B"), ("S+1", "2", None), ("S", "B", None)],
)
def test_exact_division_by_example(dividend: str, divisor: str, quotient: str | None) -> None:
    assert Dim.of(dividend).exact_div(Dim.of(divisor)) is (None if quotient is None else Dim.of(quotient))


@pytest.mark.parametrize(
    ("text", "printed"),
    [("S", "S"), ("P + S", "P+S"), ("S+P", "P+S"), ("2*S-1", "2*S-1"), ("S*B*2", "2*B*S"), ("-S", "-S"), ("3-3", "0")],
)
def test_printing_by_example(text: str, printed: str) -> None:
    assert str(Dim.of(text)) == printed


@pytest.mark.parametrize("text", ["", "S+", "2S", "S P", "S/2", "a.b", "+", "S**2", "(S)", "1.5"])
def test_text_that_is_no_dimension_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a dimension"):
        parse_dim(text)


def test_a_constant_equals_its_integer() -> None:
    assert Dim.of(12) == 12
    assert hash(Dim.of(12)) == hash(12)
    assert Dim.of("S") != 12
    assert Dim.of(5000) is Dim.of(5000)


def test_an_unbound_symbol_is_named() -> None:
    with pytest.raises(UserError, match=r"dimension P\+S has no value: bind P"):
        Dim.of("P+S").evaluate({"S": 1})


def test_product_of_no_dimensions_is_one() -> None:
    assert product([]) is Dim.of(1)
    assert product([Dim.of("B"), Dim.of(2), Dim.of("B")]) is Dim.of("2*B*B")
