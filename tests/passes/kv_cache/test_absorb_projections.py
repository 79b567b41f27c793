from __future__ import annotations

from graphwright.ir import parse_program, print_graph
from graphwright.passes import run_passes
from graphwright.passes.kv_cache.absorb_projections import AbsorbProjections
from graphwright.passes.pipelines import CACHE
from graphwright.passes.simplifying.canonicalize import Canonicalize
from tests.passes.graphs import applied, body, program, random_weight

LATENT = """(%q: f32[B, 4, S, 8], %c: f32[B, S, 3], %r: f32[B, 1, S, 2]) {{
  %i = iota() {{size=S, dtype=i64}} : i64[S]
  %pos = reshape(%i) {{shape=[1, S]}} : i64[1, S]
  %u = linear(%c, @up{bias}) : f32[B, S, 44]
  %h = split_heads(%u) {{heads=4}} : f32[B, 4, S, 11]
  %n = slice(%h) {{axis=3, stop=6}} : f32[B, 4, S, 6]
  %v = slice(%h) {{axis=3, start=6, stop=11}} : f32[B, 4, S, 5]
  %w = expand({shared}) {{shape=[B, 4, S, 2]}} : f32[B, 4, S, 2]
  %k = concat(%n, %w) {{axis=3}} : f32[B, 4, S, 8]
  %y = attention(%q, %k, %v, %pos{extra}) {{scale=0.3, mask="causal"}} : f32[B, 4, S, 5]  at attn
  return y=%y
}}"""
HALVES = f"weight @b : f32[44] = data([{', '.join(['0.5'] * 44)}]) : f32[44]\n"
WEIGHTS = random_weight("up", 44, 3) + random_weight("sinks", 4) + HALVES


def test_attention_goes_over_the_latent() -> None:
    text, _ = applied(program(LATENT.format(bias="", shared="%r", extra=""), WEIGHTS), AbsorbProjections())
    assert "attention(%" in text
    assert "matmul" in body(text)
    assert "linear" not in body(text)
    assert "%r) {axis=3} : f32[B, 1, S, 5]" in text


def test_sinks_stay() -> None:
    with_sinks = program(LATENT.format(bias="", shared="%r", extra=", sinks=@sinks"), WEIGHTS)
    text, _ = applied(with_sinks, AbsorbProjections(), Canonicalize())
    assert "sinks=@sinks" in text
    assert "linear" not in body(text)


def test_a_projection_with_bias_stays() -> None:
    text, _ = applied(program(LATENT.format(bias=", bias=@b", shared="%r", extra=""), WEIGHTS), AbsorbProjections())
    assert "matmul" not in body(text)


def test_heads_as_small_as_their_input_stay() -> None:
    """Plain multi-head attention halves its cache this way and pays with many times the products."""
    before = program(
        """(%q: f32[B, 2, S, 4], %x: f32[B, S, 8]) {
  %i = iota() {size=S, dtype=i64} : i64[S]
  %pos = reshape(%i) {shape=[1, S]} : i64[1, S]
  %k0 = linear(%x, @k) : f32[B, S, 8]
  %k = split_heads(%k0) {heads=2} : f32[B, 2, S, 4]
  %v0 = linear(%x, @v) : f32[B, S, 8]
  %v = split_heads(%v0) {heads=2} : f32[B, 2, S, 4]
  %y = attention(%q, %k, %v, %pos) {scale=0.3, mask="causal"} : f32[B, 2, S, 4]  at attn
  return y=%y
}""",
        random_weight("k", 8, 8) + random_weight("v", 8, 8),
    )
    text, misses = applied(before, AbsorbProjections())
    assert "matmul" not in body(text)
    assert [m.reason for m in misses] == ["16 values a token would become 8, and products 2.0 times as many"]


def test_deepseek_v3_caches_576_values_a_token() -> None:
    """At its real sizes (hidden 7168, 128 heads, latent 512, rotary part 64); the weights are never looked at."""
    sizes = {"a": (1536, 7168), "b": (128 * 192, 1536), "down": (576, 7168), "up": (128 * 256, 512), "o": (7168, 16384)}
    weights = "".join(
        f'weight @{n} : f32[{r}, {c}] = file("none.safetensors", "{n}") : f32[{r}, {c}]\n'
        for n, (r, c) in {**sizes, "table": (100, 7168)}.items()
    )
    before = parse_program(
        f"""program "deepseek"
{weights}
graph forward(%input_ids: i64[B, S]) {{
  %x = embedding(@table, %input_ids) : f32[B, S, 7168]
  %i = iota() {{size=S, dtype=i64}} : i64[S]
  %pos = reshape(%i) {{shape=[1, S]}} : i64[1, S]
  %q0 = linear(%x, @a) : f32[B, S, 1536]
  %q1 = linear(%q0, @b) : f32[B, S, 24576]
  %q = split_heads(%q1) {{heads=128}} : f32[B, 128, S, 192]
  %d = linear(%x, @down) : f32[B, S, 576]
  %c = slice(%d) {{axis=2, stop=512}} : f32[B, S, 512]
  %r0 = slice(%d) {{axis=2, start=512, stop=576}} : f32[B, S, 64]
  %u = linear(%c, @up) : f32[B, S, 32768]
  %h = split_heads(%u) {{heads=128}} : f32[B, 128, S, 256]
  %n = slice(%h) {{axis=3, stop=128}} : f32[B, 128, S, 128]
  %v = slice(%h) {{axis=3, start=128, stop=256}} : f32[B, 128, S, 128]
  %r = split_heads(%r0) {{heads=1}} : f32[B, 1, S, 64]
  %w = expand(%r) {{shape=[B, 128, S, 64]}} : f32[B, 128, S, 64]
  %k = concat(%n, %w) {{axis=3}} : f32[B, 128, S, 192]
  %a = attention(%q, %k, %v, %pos) {{scale=0.07, mask="causal"}} : f32[B, 128, S, 128]
  %m = merge_heads(%a) : f32[B, S, 16384]
  %y = linear(%m, @o) : f32[B, S, 7168]
  %logits = linear(%y, @table) : f32[B, S, 100]
  return logits=%logits
}}"""
    )
    run_passes(before, CACHE)
    text = print_graph(before.graphs["prefill"])
    assert "%past.0.latent: state<contiguous f32[B, 1, C, 512]>" in text
    assert "%past.0.key: state<contiguous f32[B, 1, C, 64]>" in text
    assert text.count("state<contiguous") == 4, "two caches, each read and appended to"
