"""Each lowering pass for GPUs on IR text: what it makes, what it leaves alone and why; `applied` compares numbers."""

from dataclasses import replace

import pytest

from graphwright.backends.cuda.library import LIBRARY
from graphwright.ir import print_graph
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.lowering.cuda import cuda_lowering
from graphwright.passes.lowering.decoders import PHASES
from tests.backends.models import MODELS, decoder
from tests.passes.graphs import applied, body, program, random_weight

TARGETS = {"cuda": LIBRARY.target}
WEIGHTS = random_weight("w", 6, 4) + random_weight("g", 4)
NORMED = """(%x: f32[2, 4], %r: f32[2, 6]) {
  %n = rms_norm(%x, @g) {epsilon=0.001} : f32[2, 4]
  %p = linear(%n, @w) : f32[2, 6]  at layer
  %y = add(%r, %p) : f32[2, 6]
  return y=%y
}"""
GATED = """(%x: f32[B, 4]) {
  %p = linear(%x, @w) : f32[B, 6]  at layer
  %g, %u = split(%p) {axis=1, sizes=[3, 3]} : f32[B, 3], f32[B, 3]
  %y = glu(%g, %u) {kind="gelu"} : f32[B, 3]
  return y=%y
}"""
ATTENTION = """(%q: f32[B, 4, 1, 8], %k: state<contiguous f32[B, 2, 30, 8]>, %v: state<contiguous f32[B, 2, 30, 8]>,
                %p: i64[B, 1], %l: i64[B]) {
  %y = cuda.attention(%q, %k, %v, %p, key_length=%l) {scale=0.5, mask="causal"} : f32[B, 1, 32]  at layer
  return y=%y
}"""


def lowered(text: str, name: str, weights: str = "") -> tuple[str, dict[str, str]]:
    """The text after a pass, and the reason of each near miss by its rule."""
    after, misses = applied(program(text, weights), *parse_passes(name, TARGETS))
    return after, {miss.rule: miss.reason for miss in misses}


def test_a_product_takes_in_norm_and_residual() -> None:
    text, misses = lowered(NORMED, "cuda-linears", WEIGHTS)
    assert body(text) == ["cuda.linear"]
    assert "cuda.linear(%x, @w, gain=@g, residual=%r) {epsilon=0.001}" in text
    assert not misses


def test_a_norm_of_many_rows_or_with_other_readers_stays() -> None:
    many = NORMED.replace("[2,", "[B,")
    other = NORMED.replace("return y=%y", "%z = neg(%n) : f32[2, 4]\n  return y=%y, z=%z")
    output = NORMED.replace("return y=%y", "return y=%y, n=%n")
    for text, reason in (
        (many, "B rows: each block of threads would compute the norm again"),
        (other, "neg reads the norm too"),
        (output, "an output reads the norm too"),
    ):
        after, misses = lowered(text, "cuda-linears", WEIGHTS)
        assert "rms_norm" in after
        assert misses == {"cuda.linear: norm before": reason}


def test_a_gated_unit_of_the_halves_is_taken_in() -> None:
    text, misses = lowered(GATED, "cuda-linears", WEIGHTS)
    assert body(text) == ["cuda.linear"]
    assert 'gated=true, kind="gelu"' in text
    assert not misses


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("glu(%g, %u)", "glu(%u, %g)", "the gate is the second half of the columns"),
        ("return y=%y", "return y=%y, u=%u", "what the gate lets through is read by others too"),
    ],
)
def test_other_gated_units_stay(old: str, new: str, reason: str) -> None:
    after, misses = lowered(GATED.replace(old, new), "cuda-linears", WEIGHTS)
    assert "glu(" in after
    assert misses == {"cuda.linear: gated unit behind": reason}


def test_a_residual_of_another_type_stays() -> None:
    row = NORMED.replace("%r: f32[2, 6]", "%r: f32[6]")
    after, misses = lowered(row, "cuda-linears", WEIGHTS)
    assert "add(" in after
    assert misses == {"cuda.linear: residual behind": "it is added to f32[6]"}


CODED = """(%x: f32[2, 48], %i: i64[2], %r: f32[2, 4]) {
  %n = rms_norm(%x, @g) {epsilon=0.001} : f32[2, 48]
  %p = linear(%n, @w) : f32[2, 4]  at layer
  %y = add(%r, %p) : f32[2, 4]
  %t = quantized_embedding(@w, %i) : f32[2, 48]
  return y=%y, t=%t
}"""


def codes(group: int) -> str:
    """A weight of codes by scales of 1, so that numbers of float32 are the very ones."""
    numbers = ", ".join(str(7.0 if i % group == 0 else i % 5 - 2.0) for i in range(4 * 48))
    made = f"round_to_nearest(data([{numbers}]) : f32[4, 48]) {{to=i4, group={group}}}"
    return f"weight @w : q4<g{group}, sym>[4, 48] = {made}\n" + random_weight("g", 48)


def test_a_product_with_codes_takes_in_what_others_take_in() -> None:
    text, misses = lowered(CODED, "cuda-linears", codes(16))
    assert sorted(body(text)) == ["cuda.linear", "quantized_embedding"]
    assert "cuda.linear(%x, @w, gain=@g, residual=%r)" in text
    assert not misses


def test_codes_that_no_kernel_reads_are_written_as_floats() -> None:
    text, misses = lowered(CODED, "cuda-linears", codes(24))
    assert sorted(body(text)) == ["cuda.linear", "embedding"]
    assert "cuda.linear(%x, @w.f32, gain=@g, residual=%r)" in text
    assert "embedding(@w.f32, %i)" in text
    reason = "cuda: groups of 24 codes: its kernels take powers of two from 16 to 256"
    assert misses == {"cuda.linear: codes written as floats": reason, "cuda.linear: rows of codes": reason}


def test_attention_of_one_token_goes_over_pieces_of_the_context() -> None:
    text, misses = lowered(ATTENTION, "cuda-split-attention{splits=3}")
    assert body(text) == ["cuda.split_attention", "cuda.combine_splits"]
    assert "splits=3" in text
    assert not misses


@pytest.mark.parametrize(
    ("given", "type"),
    [("bias", "f32[4, 1, 30]"), ("bias", "bool[B, 1, 1, 30]"), ("sinks", "f32[4]"), ("key_positions", "i64[B, 30]")],
)
def test_pieces_have_what_whole_attention_has(given: str, type: str) -> None:
    """Sinks are for what puts the pieces together; positions of keys come in the place of their number."""
    old = "key_length=%l" if given == "key_positions" else ") {scale"
    new = f"{given}=%a" if given == "key_positions" else f", {given}=%a) {{scale"
    before = ATTENTION.replace("%l: i64[B]", f"%l: i64[B], %a: {type}").replace(old, new)
    text, misses = lowered(before, "cuda-split-attention")
    assert body(text) == ["cuda.split_attention", "cuda.combine_splits"]
    made = next(line for line in text.splitlines() if ("combine" if given == "sinks" else "split") in line)
    assert "%a" in made
    assert not misses


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("4, 1, 8], %k", "4, S, 8], %k", "S queries of a row keep the blocks of threads busy"),
        ("} : f32[B, 1, 32]", ", merged=false} : f32[B, 4, 1, 8]", "its heads are not put side by side"),
    ],
)
def test_other_attention_stays_whole(old: str, new: str, reason: str) -> None:
    text = ATTENTION.replace(old, new)
    if "S, 8]" in text:
        text = text.replace("i64[B, 1]", "i64[B, S]").replace("f32[B, 1, 32]", "f32[B, S, 32]")
    after, misses = lowered(text, "cuda-split-attention")
    assert body(after) == ["cuda.attention"]
    assert misses == {"cuda.split_attention": reason}


def test_attention_of_heads_that_fit_no_block_stays_whole() -> None:
    """As those of latent attention, whose keys have 576 numbers."""
    large = ATTENTION.replace(", 30, 8]", ", 3, 576]").replace("1, 8], %k", "1, 576], %k").replace("32]", "2304]")
    after, misses = lowered(large, "cuda-split-attention")
    assert body(after) == ["cuda.attention"]
    assert misses == {"cuda.split_attention": "cuda: heads of 576 numbers: its kernels take at most 256"}


APPENDED = """(%x: f32[B, 1, 64], %k: state<contiguous f32[B, 2, 30, 8]>, %v: state<contiguous f32[B, 2, 30, 8]>,
               %past: i64[B], %p: i64[B, 1], %l: i64[B], %cos: f32[B, 1, 3]) {
  %q, %k2, %v2 = cuda.rotary_append(%x, %k, %v, %past, cos=%cos, sin=%cos) {heads=4, query=0, key=32, value=48} : f32[B, 4, 1, 8], state<contiguous f32[B, 2, 30, 8]>, state<contiguous f32[B, 2, 30, 8]>  at layer
  %y = cuda.split_attention(%q, %k2, %v2, %p, %l) {splits=3, scale=0.5, mask="causal"} : f32[B, 4, 3, 1, 10]  at layer
  return y=%y, k=%k2, v=%v2
}"""  # noqa: E501 (an op is a line)


def test_attention_takes_in_what_appends_to_its_caches() -> None:
    text, misses = lowered(APPENDED, "cuda-append-attention")
    assert body(text) == ["cuda.append_attention"]
    assert "cuda.append_attention(%x, %k, %v, %past, %p, %l, cos=%cos, sin=%cos)" in text
    assert not misses


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("return y=%y", "return q=%q, y=%y", "the queries are an output"),
        (
            "return y=%y",
            "%z = neg(%q) : f32[B, 4, 1, 8]\n  return z=%z, y=%y",
            "neg reads what is appended too",
        ),
        ("(%q, %k2, %v2", "(%q, %k2, %v", "it reads other caches than those that are appended to"),
        ("%l) {", "%l, bias=%b) {", "it has bias"),
        ("%l) {", "key_positions=%kp) {", "the number of its keys is not given"),
        ("%p, %l)", "%p)", "the number of its keys is not given"),
    ],
)
def test_attention_of_what_others_read_stays(old: str, new: str, reason: str) -> None:
    before = APPENDED.replace("%past: i64[B]", "%past: i64[B], %b: f32[4, 1, 30], %kp: i64[B, 30]").replace(old, new)
    after, misses = lowered(before, "cuda-append-attention")
    assert {"cuda.rotary_append", "cuda.split_attention"} <= set(body(after))
    assert misses == {"cuda.append_attention": reason}


CODED_CACHES = (
    APPENDED.replace("f32[B, 2, 30, 8]", "i8[B, 2, 30, 8]")
    .replace("%cos: f32[B, 1, 3]", "%cos: f32[B, 1, 3], %ks: f32[1, 2, 1, 8], %vs: state<contiguous f32[B, 2, 30, 1]>")
    .replace("sin=%cos)", "sin=%cos, key_scale=%ks, value_scale=%vs)")
    .replace("i8[B, 2, 30, 8]>  at layer", "i8[B, 2, 30, 8]>, state<contiguous f32[B, 2, 30, 1]>  at layer")
    .replace("%q, %k2, %v2 =", "%q, %k2, %v2, %vs2 =")
    .replace("%p, %l) {splits", "%p, %l, key_scale=%ks, value_scale=%vs2) {splits")
    .replace("v=%v2", "v=%v2, vs=%vs2")
)


def test_attention_takes_in_what_appends_codes_and_scales_of_tokens() -> None:
    text, misses = lowered(CODED_CACHES, "cuda-append-attention")
    assert body(text) == ["cuda.append_attention"]
    assert "%l, cos=%cos, sin=%cos, key_scale=%ks, value_scale=%vs)" in text
    assert not misses


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("value_scale=%vs2", "value_scale=%vs", "it reads other caches than those that are appended to"),
        ("vs=%vs2", "vs=%vs2, n=%n", "neg reads what is appended too"),
    ],
)
def test_attention_to_codes_of_other_scales_stays(old: str, new: str, reason: str) -> None:
    text = CODED_CACHES.replace(old, new)
    if "%n" in new:
        reads = "%h = kv_read(%vs2) : f32[B, 2, 30, 1]\n  %n = neg(%h) : f32[B, 2, 30, 1]\n  return"
        text = text.replace("return", reads)
        reason = reason.replace("neg", "kv_read")
    after, misses = lowered(text, "cuda-append-attention")
    assert {"cuda.rotary_append", "cuda.split_attention"} <= set(body(after))
    assert misses == {"cuda.append_attention": reason}


def test_attention_of_a_token_reads_codes_by_pieces() -> None:
    coded = (
        ATTENTION.replace("f32[B, 2, 30, 8]", "i8[B, 2, 30, 8]")
        .replace("%l: i64[B])", "%l: i64[B], %ks: f32[], %vs: state<contiguous f32[B, 2, 30, 1]>)")
        .replace("key_length=%l", "key_length=%l, key_scale=%ks, value_scale=%vs")
    )
    text, misses = lowered(coded, "cuda-split-attention")
    assert body(text) == ["cuda.split_attention", "cuda.combine_splits"]
    assert "key_scale=%ks, value_scale=%vs" in text
    assert not misses


def test_a_layer_of_a_llama_takes_six_launches_a_token() -> None:
    counts: list[int] = []
    for layers in (1, 3):
        made = decoder(replace(MODELS["llama"], layers=layers))
        run_passes(made, [*PHASES, *cuda_lowering(LIBRARY.target)])
        counts.append(sum(not op.definition.view for op in made.graphs["decode_one_row"]))
    assert counts[1] - counts[0] == 2 * 6


def test_decoders_choose_tokens() -> None:
    made = decoder(replace(MODELS["llama"], layers=1))
    run_passes(made, [*PHASES, *parse_passes("cuda-choose-tokens", TARGETS)])
    for graph in made.graphs.values():
        assert list(graph.outputs)[:3] == ["logits", "chosen", "length_after"]
        assert "cuda.choose_tokens(%" in print_graph(graph)


def test_a_function_chooses_no_tokens() -> None:
    after, misses = lowered(NORMED, "cuda-choose-tokens", WEIGHTS)
    assert "chosen" not in after
    assert not misses
