"""Words of other tools for quantization point to a scheme, and every scheme that they point to exists."""

import re

import pytest

from graphwright.ir import PassError
from graphwright.passes.quantization.scheme_suggestions import _MEANT, suggested_scheme
from graphwright.passes.quantization.scheme_text import parse_scheme


@pytest.mark.parametrize(
    ("word", "scheme"),
    [
        *(
            (word, "w4a16-g128")
            for word in ("int4", "INT4", "q4_k_m", "Q4_K_M", "q4_0", "4bit", "4-bit", "nf4", "iq4_xs")
        ),
        *((word, "w8 ") for word in ("int8", "q8_0", "8bit", "8-bit", "llm.int8()", "bnb-8bit", "q5_k_m", "q6_k")),
        ("gptq", "w4a16-g128-gptq"),
        ("awq-int4", "w4a16-g128-awq"),
        ("q3_k_s", "w3-g32"),
        ("int2", "w2-g32"),
        ("fp8_e4m3", "fp8"),
    ],
)
def test_words_of_other_tools(word: str, scheme: str) -> None:
    with pytest.raises(PassError, match=f"'{re.escape(word.lower())}' is another tool's name: write {scheme}"):
        parse_scheme(word)


@pytest.mark.parametrize("word", ["fp16", "float16", "half", "bf16", "none"])
def test_floats_are_no_scheme(word: str) -> None:
    with pytest.raises(PassError, match=rf"'{word}' quantizes nothing.*\(--dtype\)"):
        parse_scheme(word)


def test_schemes_are_no_words_and_words_name_schemes() -> None:
    for scheme in ("w4", "w8", "w4a8-g32", "fp8", "mxfp4", "nvfp4", "kv8", "w8a8", "mixed"):
        assert suggested_scheme(scheme) is None
    for _, meant in _MEANT:
        for scheme in re.findall(r"\b(?:w\d\w*(?:-\w+)*|fp8|mxfp4)\b", meant):
            assert parse_scheme(scheme).text == scheme
