"""What is cached is the smallest that keys and values can be made from again by cheap ops."""

from __future__ import annotations

import pytest

from graphwright.ir import Program, StateType
from graphwright.passes import run_passes
from graphwright.passes.kv_cache.insert_kv_cache import InsertKVCache
from tests.passes.graphs import program, random_weight
from tests.passes.kv_cache.test_insert_kv_cache import assert_continues

WEIGHTS = "".join(
    random_weight(name, *shape)
    for name, shape in {
        "table": (16, 8),
        "q": (12, 8),
        "down": (5, 8),
        "up": (6, 4),
        "o": (8, 6),
        "slopes": (2, 1, 1),
    }.items()
)
HEAD = """(%input_ids: i64[B, S]) {
  %x = embedding(@table, %input_ids) : f32[B, S, 8]
  %i = iota() {size=S, dtype=i64} : i64[S]
  %pos = reshape(%i) {shape=[1, S]} : i64[1, S]
  %q0 = linear(%x, @q) : f32[B, S, 12]
  %latent = linear(%x, @down) : f32[B, S, 5]
"""
TAIL = """
  %h = merge_heads(%a) : f32[B, S, 6]
  %r = linear(%h, @o) : f32[B, S, 8]
  %logits = linear(%r, @table) : f32[B, S, 16]
  return logits=%logits
}"""

SHARED_LATENT = """  %q = split_heads(%q0) {heads=2} : f32[B, 2, S, 6]
  %c, %r0 = split(%latent) {axis=2, sizes=[3, 2]} : f32[B, S, 3], f32[B, S, 2]
  %c1 = reshape(%c) {shape=[B, 1, S, 3]} : f32[B, 1, S, 3]
  %c2 = neg(%c1) : f32[B, 1, S, 3]
  %r1 = reshape(%r0) {shape=[B, 1, S, 2]} : f32[B, 1, S, 2]
  %one = slice(%c1) {axis=3, stop=1} : f32[B, 1, S, 1]
  %k = concat(%c1, %r1, %one) {axis=3} : f32[B, 1, S, 6]
  %a = attention(%q, %k, %c2, %pos) {scale=0.4, mask="causal"} : f32[B, 2, S, 3]  at attn"""

REPEATED = """  %q = split_heads(%q0) {heads=6} : f32[B, 6, S, 2]
  %c, %rest = split(%latent) {axis=2, sizes=[2, 3]} : f32[B, S, 2], f32[B, S, 3]
  %one = slice(%rest) {axis=2, stop=1} : f32[B, S, 1]
  %k1 = reshape(%c) {shape=[B, 1, S, 2]} : f32[B, 1, S, 2]
  %k = expand(%k1) {shape=[B, 6, S, 2]} : f32[B, 6, S, 2]
  %v1 = reshape(%one) {shape=[B, 1, S, 1]} : f32[B, 1, S, 1]
  %v = expand(%v1) {shape=[B, 6, S, 1]} : f32[B, 6, S, 1]
  %a = attention(%q, %k, %v, %pos) {scale=0.4, mask="causal"} : f32[B, 6, S, 1]  at attn"""

POSITIONS_IN_KEYS = """  %q = split_heads(%q0) {heads=2} : f32[B, 2, S, 6]
  %t = cast(%i) {dtype=f32} : f32[S]
  %t1 = reshape(%t) {shape=[1, 1, S, 1]} : f32[1, 1, S, 1]
  %t2 = sin(%t1) : f32[1, 1, S, 1]
  %c = reshape(%latent) {shape=[B, 1, S, 5]} : f32[B, 1, S, 5]
  %c1 = mul(%c, %t2) : f32[B, 1, S, 5]
  %one = slice(%c1) {axis=3, stop=1} : f32[B, 1, S, 1]
  %k = concat(%c1, %one) {axis=3} : f32[B, 1, S, 6]
  %v = slice(%c) {axis=3, stop=3} : f32[B, 1, S, 3]
  %a = attention(%q, %k, %v, %pos) {scale=0.4, mask="causal"} : f32[B, 2, S, 3]  at attn"""

LINEAR_BIAS = """  %q = split_heads(%q0) {heads=2} : f32[B, 2, S, 6]
  %row = reshape(%i) {shape=[S, 1]} : i64[S, 1]
  %d = sub(%i, %row) : i64[S, S]
  %f = cast(%d) {dtype=f32} : f32[S, S]
  %bias = mul(%f, @slopes) : f32[2, S, S]
  %one = slice(%latent) {axis=2, stop=1} : f32[B, S, 1]
  %k0 = concat(%latent, %one) {axis=2} : f32[B, S, 6]
  %k = split_heads(%k0) {heads=1} : f32[B, 1, S, 6]
  %v = slice(%k) {axis=3, stop=3} : f32[B, 1, S, 3]
  %a = attention(%q, %k, %v, %pos, bias=%bias) {scale=0.4, mask="causal"} : f32[B, 2, S, 3]  at attn"""

CASES = {
    "one latent for keys and values": (SHARED_LATENT, {"past.0.latent": "[B, 1, C, 3]", "past.0.key": "[B, 1, C, 2]"}),
    "heads before they are repeated": (REPEATED, {"past.0.key": "[B, 1, C, 2]", "past.0.value": "[B, 1, C, 1]"}),
    "keys that depend on positions": (POSITIONS_IN_KEYS, {"past.0.latent": "[B, 1, C, 5]"}),
    "a bias over keys": (LINEAR_BIAS, {"past.0.latent": "[B, 1, C, 5]"}),
}


def caches(of: Program) -> dict[str, str]:
    states = [v for v in of.graphs["prefill"].inputs if isinstance(v.type, StateType)]
    return {str(v.name): f"[{', '.join(map(str, v.type.shape))}]" for v in states}


@pytest.mark.parametrize("name", CASES)
def test_the_smallest_cut_is_cached(name: str) -> None:
    attention, expected = CASES[name]
    before = program(HEAD + attention + TAIL, WEIGHTS)
    forward = before.graphs["forward"]
    run_passes(before, [InsertKVCache()])
    assert caches(before) == expected
    assert_continues(forward, before.graphs["prefill"])


def test_two_attentions_over_the_same_keys_share_a_cache() -> None:
    twice = """  %q = split_heads(%q0) {heads=2} : f32[B, 2, S, 6]
  %one = slice(%latent) {axis=2, stop=1} : f32[B, S, 1]
  %k0 = concat(%latent, %one) {axis=2} : f32[B, S, 6]
  %k = split_heads(%k0) {heads=1} : f32[B, 1, S, 6]
  %v = slice(%k) {axis=3, stop=3} : f32[B, 1, S, 3]
  %a0 = attention(%q, %k, %v, %pos) {scale=0.4, mask="causal"} : f32[B, 2, S, 3]  at first
  %q1 = neg(%q) : f32[B, 2, S, 6]
  %a1 = attention(%q1, %k, %v, %pos) {scale=0.4, mask="sliding", window=4} : f32[B, 2, S, 3]  at second
  %a = add(%a0, %a1) : f32[B, 2, S, 3]"""
    before = program(HEAD + twice + TAIL, WEIGHTS)
    forward = before.graphs["forward"]
    run_passes(before, [InsertKVCache()])
    assert caches(before) == {"past.0.latent": "[B, 1, C, 5]"}
    assert_continues(forward, before.graphs["prefill"])


def test_nothing_is_computed_again_where_that_saves_nothing() -> None:
    """Of equally small cuts the one next to attention is taken: keys are cached after their rotation, not before."""
    turned = """  %q = split_heads(%q0) {heads=4} : f32[B, 4, S, 3]
  %v0, %k0 = split(%latent) {axis=2, sizes=[2, 3]} : f32[B, S, 2], f32[B, S, 3]
  %one = slice(%v0) {axis=2, stop=1} : f32[B, S, 1]
  %k1 = split_heads(%k0) {heads=1} : f32[B, 1, S, 3]
  %k2 = sin(%k1) : f32[B, 1, S, 3]
  %k = neg(%k2) : f32[B, 1, S, 3]
  %v1 = concat(%v0, %one) {axis=2} : f32[B, S, 3]
  %v = split_heads(%v1) {heads=1} : f32[B, 1, S, 3]
  %a0 = attention(%q, %k, %v, %pos) {scale=0.4, mask="causal"} : f32[B, 4, S, 3]
  %a = slice(%a0) {axis=1, stop=2} : f32[B, 2, S, 3]"""
    before = program(HEAD + turned + TAIL, WEIGHTS)
    run_passes(before, [InsertKVCache()])
    prefill = before.graphs["prefill"]
    appended = [op.required("new").owner for op in prefill if op.name == "kv_append"]
    assert [op.name if op else None for op in appended] == ["neg", "reshape"]
    assert sum(op.name == "sin" for op in prefill) == 1
