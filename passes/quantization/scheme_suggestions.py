"""Words of other tools for quantization, and which scheme is meant here."""

import re

_FOUR = "w4a16-g128 (weights in 4 bits, computing in floats), or w4a8-g32 (int8 activations, fastest on a CPU)"
_EIGHT = "w8 (weights in 8 bits), or w8a8 (int8 activations too)"

_MEANT: tuple[tuple[str, str], ...] = (
    (r"(u?int4|[iu]4|4[-_ ]?bits?|nf4|fp4|bnb[-_]?4bit|iq4_\w+|q4|q4_[01]|q4_k(_[sml])?)", _FOUR),
    (r"(u?int8|[iu]8|8[-_ ]?bits?|llm\.int8(\(\))?|bnb[-_]?8bit|q8|q8_[01k])", _EIGHT),
    (r"(int[56]|[56][-_ ]?bits?|q[56]|q[56]_[01k](_[sml])?)", f"{_EIGHT}; there is no format of 5 or 6 bits"),
    (r"(int3|3[-_ ]?bits?|q3|q3_k(_[sml])?|iq3_\w+)", "w3-g32 (weights in 3 bits)"),
    (r"(int2|2[-_ ]?bits?|q2|q2_k(_[sml])?|iq2_\w+)", "w2-g32 (weights in 2 bits)"),
    (r"gptq(-?int4|-?4bit)?", "w4a16-g128-gptq"),
    (r"awq(-?int4|-?4bit)?", "w4a16-g128-awq"),
    (r"smooth-?quant", "w8a8-smoothquant"),
    (r"(dynamic|static|qdq|int8-dynamic)", "w8a8 (int8 weights, activations rounded as they come)"),
    (r"(float8|f8|e4m3|fp8[-_]e4m3(fn)?)", "fp8"),
    (r"(float4|mx|mxfp4.+)", "mxfp4"),
)
"""Patterns of a whole name in lower case, and the scheme to write."""

_FLOATS = re.compile(r"(fp|f|float)(16|32|64)|bf16|bfloat16|half|float|double|none|no")


def suggested_scheme(word: str) -> str | None:
    """What to write instead of a word that other tools use for quantization, as a sentence; None for other words."""
    if _FLOATS.fullmatch(word):
        return f"'{word}' quantizes nothing: leave the scheme out, and choose floats by dtype (--dtype)"
    meant = next((scheme for pattern, scheme in _MEANT if re.fullmatch(pattern, word)), None)
    return None if meant is None else f"'{word}' is another tool's name: write {meant}"
