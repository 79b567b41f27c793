"""Ring caches: who gets one, who stays contiguous and why, and that rows go on exactly past several wraps."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import Interpreter, Program, parse_program, print_graph, print_program
from graphwright.ir.rewriting import NearMiss
from graphwright.passes import parse_passes, run_passes
from tests.passes.graphs import program, random_weight
from tests.passes.kv_cache.test_insert_kv_cache import continued, model

WEIGHTS = "".join(
    random_weight(name, *shape)
    for name, shape in {
        "table": (16, 8),
        "q": (8, 8),
        "k": (4, 8),
        "v": (4, 8),
        "o": (8, 8),
        "slopes": (2, 1, 1),
    }.items()
)
BEGIN = """(%input_ids: i64[B, S]) {
  %x = embedding(@table, %input_ids) : f32[B, S, 8]
  %i = iota() {size=S, dtype=i64} : i64[S]
  %pos = reshape(%i) {shape=[1, S]} : i64[1, S]
"""
PROJECTED = """  %q0 = linear(%x, @q) : f32[B, S, 8]
  %k0 = linear(%x, @k) : f32[B, S, 4]
  %v0 = linear(%x, @v) : f32[B, S, 4]
  %q = split_heads(%q0) {heads=2} : f32[B, 2, S, 4]
  %k = split_heads(%k0) {heads=1} : f32[B, 1, S, 4]
  %v = split_heads(%v0) {heads=1} : f32[B, 1, S, 4]
"""
FIRST = """  %a = attention(%q, %k, %v, %pos{bias}) {{scale=0.7, {mask}}} : f32[B, 2, S, 4]  at first
  %m = merge_heads(%a) : f32[B, S, 8]
  %h = linear(%m, @o) : f32[B, S, 8]
"""
SECOND = """  %q1 = linear(%h, @q) : f32[B, S, 8]
  %q2 = split_heads(%q1) {{heads=2}} : f32[B, 2, S, 4]
  {k}
  %b = attention(%q2, %k2, %v, %pos) {{scale=0.6, {mask}}} : f32[B, 2, S, 4]  at second
  %n = merge_heads(%b) : f32[B, S, 8]
"""
OWN = """%k1 = linear(%h, @k) : f32[B, S, 4]
  %k2 = split_heads(%k1) {heads=1} : f32[B, 1, S, 4]"""
END = """  %r = add(%h, %n) : f32[B, S, 8]
  %logits = linear(%r, @table) : f32[B, S, 16]
  return logits=%logits
}"""
DERIVED = "%k2 = neg(%k) : f32[B, 1, S, 4]"
SLIDING, CHUNKED, CAUSAL = 'mask="sliding", window=4', 'mask="chunked", window=4', 'mask="causal"'


def two_layers(first: str, second: str, k2: str, bias: str = "", before: str = "") -> Program:
    """The second attention uses the first one's values, and keys as `k2` says."""
    one = FIRST.format(mask=first, bias=bias)
    return program(BEGIN + PROJECTED + before + one + SECOND.format(mask=second, k=k2) + END, WEIGHTS)


def ringed(before: Program) -> tuple[dict[str, str], list[NearMiss]]:
    """The caches that a model gets, by name; its continuation is compared with whole sequences."""
    forward = before.graphs["forward"]
    report = run_passes(before, parse_passes('insert-kv-cache{layout="ring"}'))
    prefill = before.graphs["prefill"]
    drawn = [torch.randint(0, 16, (n,), generator=torch.Generator().manual_seed(n)) for n in (23, 17, 4)]
    rows = [[int(token) for token in row] for row in drawn]
    exact, whole = (
        [Interpreter(precision).run(forward, {"input_ids": torch.tensor([row])})["logits"][0].double() for row in rows]
        for precision in ("float64", "reference")
    )
    # four times float32's own distance from float64: sums as long, in another order
    bound = 4 * max(float((a - b).abs().max()) for a, b in zip(exact, whole, strict=True))
    for chunks in ([20, 3], [9, 1, 12, 1], [4, 1, 2, 1, 1, 3, 11], [1] * 23):
        for wanted, found in zip(exact, continued(prefill, rows, chunks, 44), strict=True):
            assert wanted.shape == found.shape
            assert float((wanted - found).abs().max()) <= bound
    assert print_program(parse_program(print_program(before))) == print_program(before)
    caches = {str(v.name): str(v.type) for v in prefill.inputs if str(v.name).startswith("past.")}
    return caches, [miss for record in report.records for miss in record.near_misses]


def test_the_graph_of_a_ring() -> None:
    before = program(BEGIN + PROJECTED + FIRST.format(mask=SLIDING, bias="") + END.replace("%n", "%x"), WEIGHTS)
    caches, misses = ringed(before)
    assert caches == {f"past.0.{n}": "state<ring f32[B, 1, 3, 4]>" for n in ("key", "value")}
    assert not misses
    text = print_graph(before.graphs["prefill"])
    lines = [line.strip() for line in text.splitlines() if "at first" in line]
    assert lines == [
        "%10 = kv_read(%past.0.key) : f32[B, 1, 3, 4]  at first",
        "%11 = concat(%10, %8) {axis=2} : f32[B, 1, S+3, 4]  at first",
        "%12 = kv_append(%past.0.key, %8, %past_length, new_length=%new_length) "
        ": state<ring f32[B, 1, 3, 4]>  at first",
        "%13 = kv_read(%past.0.value) : f32[B, 1, 3, 4]  at first",
        "%14 = concat(%13, %9) {axis=2} : f32[B, 1, S+3, 4]  at first",
        "%15 = kv_append(%past.0.value, %9, %past_length, new_length=%new_length) "
        ": state<ring f32[B, 1, 3, 4]>  at first",
        "%16 = ring_positions(%past_length) {capacity=3} : i64[B, 3]  at first",
        "%17 = concat(%16, %2) {axis=1} : i64[B, S+3]  at first",
        '%18 = attention(%7, %11, %14, %2, key_positions=%17) {scale=0.7, mask="sliding", window=4} '
        ": f32[B, 2, S, 4]  at first",
    ]
    assert "present.0.key=%12, present.0.value=%15" in text


@pytest.mark.parametrize("mask", [SLIDING, CHUNKED, 'mask="sliding", window=1', 'mask="sliding", window=2'])
def test_attention_that_shares_its_window_shares_the_ring(mask: str) -> None:
    caches, misses = ringed(two_layers(mask, mask, OWN))
    size = max(int(mask[-1]) - 1, 1)
    assert caches == {f"past.{n}": f"state<ring f32[B, 1, {size}, 4]>" for n in ("0.key", "0.value", "1.key")}
    assert not misses


def test_sliding_and_causal_attention_have_caches_of_their_own() -> None:
    own = OWN + "\n  %v1 = linear(%h, @v) : f32[B, S, 4]\n  %w = split_heads(%v1) {heads=1} : f32[B, 1, S, 4]"
    text = BEGIN + PROJECTED + FIRST.format(mask=SLIDING, bias="")
    text += SECOND.format(mask=CAUSAL, k=own).replace("%k2, %v,", "%k2, %w,") + END
    caches, misses = ringed(program(text, WEIGHTS))
    assert caches == {
        **{f"past.0.{n}": "state<ring f32[B, 1, 3, 4]>" for n in ("key", "value")},
        **{f"past.1.{n}": "state<contiguous f32[B, 1, C, 4]>" for n in ("key", "value")},
    }
    assert not misses


SLOPES = """  %t = cast(%i) {dtype=f32} : f32[S]
  %t1 = reshape(%t) {shape=[1, 1, S]} : f32[1, 1, S]
  %slope = mul(@slopes, %t1) : f32[2, 1, S]
"""
OTHER_MASK = "its cache is read under another mask too"
STAY = {
    "causal": (two_layers(SLIDING, CAUSAL, OWN), f"first: {OTHER_MASK}"),
    "another kind": (two_layers(CHUNKED, SLIDING, OWN), f"second: {OTHER_MASK}"),
    "another window": (two_layers(SLIDING, 'mask="sliding", window=3', OWN), f"first: {OTHER_MASK}"),
    "keys made again": (
        two_layers(SLIDING, SLIDING, DERIVED),
        "second: its k is computed again for the places of a contiguous cache",
    ),
    "bias": (
        two_layers(SLIDING, CAUSAL, OWN, bias=", bias=%slope", before=SLOPES),
        "first: its bias is computed for the places of a contiguous cache",
    ),
}


@pytest.mark.parametrize("name", STAY)
def test_what_cannot_have_a_ring_stays_contiguous_and_says_why(name: str) -> None:
    before, reason = STAY[name]
    caches, misses = ringed(before.clone())
    assert all(type.startswith("state<contiguous") for type in caches.values())
    assert f"ring-cache at {reason}" in map(str, misses)


def test_a_window_over_the_whole_context_stays_contiguous() -> None:
    before = two_layers(SLIDING, SLIDING, OWN)
    before.metadata["context_length"] = 3
    _, misses = ringed(before)
    assert "ring-cache at first: its window of 4 holds the whole context of 3 tokens" in map(str, misses)


def test_contiguous_is_the_default() -> None:
    before = model(mask='"sliding", window=3')
    other = before.clone()
    run_passes(before, parse_passes("insert-kv-cache"))
    run_passes(other, parse_passes("insert-kv-cache{layout=contiguous}"))
    assert print_program(before) == print_program(other)
    assert "ring" not in print_program(before)
