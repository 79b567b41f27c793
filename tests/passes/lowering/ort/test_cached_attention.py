"""Attention over caches on IR text: when it becomes GroupQueryAttention, and what stops it."""

from __future__ import annotations

import pytest

from graphwright.passes import parse_passes
from tests.passes.graphs import applied, body, program

CACHE = "state<contiguous f32[B, 2, 24, 8]>"
NEW = "f32[B, 2, S, 8]"
CACHED = f"""(%q: {NEW}, %k: {NEW}, %v: {NEW}, %keys: {CACHE}, %values: {CACHE}, %past: i64[B], %new: i64[B]) {{
  %column = reshape(%past) {{shape=[B, 1]}} : i64[B, 1]
  %count = iota() {{size=S, dtype=i64}} : i64[S]
  %p = add(%column, %count) : i64[B, S]
  %n = add(%past, %new) : i64[B]
  %ak = kv_append(%keys, %k, %past) : {CACHE}
  %av = kv_append(%values, %v, %past) : {CACHE}
  %y = attention(%q, %ak, %av, %p, key_length=%n) {{scale=0.5, mask="causal"}} : {NEW}  at layer
  return y=%y, ak=%ak, av=%av
}}"""
PASS = parse_passes("ort-group-query-attention")


def test_appends_and_attention_become_one_operator() -> None:
    text, misses = applied(program(CACHED), *PASS)
    assert "ort.group_query_attention(" in text
    assert not {"kv_append", "attention"} & set(body(text))
    assert not misses
    text, misses = applied(program(CACHED), *parse_passes("ort-group-query-attention{dialect=portable}"))
    assert {"kv_append", "attention"} <= set(body(text))
    assert not misses


def _changed(*changes: tuple[str, str]) -> str:
    text = CACHED
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


OWN_POSITIONS = (("%new: i64[B])", "%new: i64[B], %places: i64[B, 24])"), ("key_length=%n", "key_positions=%places"))
BIAS = (("%new: i64[B])", "%new: i64[B], %bias: f32[1, 2, 1, 24])"), ("key_length=%n", "key_length=%n, bias=%bias"))

PLAIN_VALUES = (
    ("%q, %ak, %av,", "%q, %ak, %v,"),
    (f"%v: {NEW}", "%v: f32[B, 2, 24, 8]"),
    ("%av = kv_append(%values, %v,", "%av = kv_append(%values, %k,"),
)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (OWN_POSITIONS, "its keys have positions of their own, as those of a ring cache do"),
        (BIAS, "it has a bias on the scores"),
        ((('mask="causal"', 'mask="chunked", window=3'),), "the mask is chunked"),
        ((("key_length=%n", "key_length=%past"),), "its key length is not past length + new length"),
        ((("%p = add(%column, %count)", "%p = mul(%column, %count)"),), "its query positions do not count on from"),
        ((("%av = kv_append(%values, %v, %past)", "%av = kv_append(%values, %v, %new)"),), "at different positions"),
        (PLAIN_VALUES, "keys or values do not come from a cache"),
    ],
)
def test_what_the_operator_would_do_differently_stays_and_says_why(
    changes: tuple[tuple[str, str], ...], reason: str
) -> None:
    text, misses = applied(program(_changed(*changes)), *PASS)
    assert {"kv_append", "attention"} <= set(body(text))
    (miss,) = misses
    assert (miss.rule, miss.location) == ("group-query-attention", "layer")
    assert reason in miss.reason
