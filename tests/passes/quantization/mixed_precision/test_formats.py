"""Formats by name."""

from __future__ import annotations

import pytest

from graphwright.ir import PassError
from graphwright.passes.quantization.mixed_precision.formats import expression, parse_formats
from tests.passes.compression.model import language_model


def test_a_list_is_joined_by_plus() -> None:
    assert parse_formats("i4-g32+u3-g16 + float+i4-g32") == ("i4-g32", "u3-g16", "float")


def test_what_a_name_means() -> None:
    weight = language_model().weights["up"]
    assert str(expression(weight, "i4-g32").type) == "q4<g32, sym>[20, 8]"
    assert str(expression(weight, "u3-g16").type) == "q3<g16, asym>[20, 8]"
    assert str(expression(weight, "i8-g0").type) == "q8<channel, sym>[20, 8]"
    assert expression(weight, "float") is weight.expression


@pytest.mark.parametrize(
    ("text", "hint"),
    [("i4-g33", "did you mean 'i4-g3?2'"), ("i4-g32+", "there are float"), ("f32", "did you mean|there are float")],
)
def test_an_unknown_one_is_refused(text: str, hint: str) -> None:
    with pytest.raises(PassError, match=f"^mixed-precision: there is no format '.*' in formats=.*: ({hint})"):
        parse_formats(text)
