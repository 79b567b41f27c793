"""Each lowering pass on IR text: what it makes, what it must leave alone and why; `applied` compares the numbers."""

from __future__ import annotations

import pytest

from graphwright.backends.tvm.library import CPU
from graphwright.compiling.targets import find_pipeline
from graphwright.ir import PassError, print_graph
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.lowering.cpu import cpu_lowering
from graphwright.passes.lowering.cpu.rotary_tables import RotaryByTables
from graphwright.passes.lowering.decoders import PHASES
from graphwright.passes.proving import InterpreterProver
from tests.backends.models import MODELS, decoder
from tests.passes.graphs import applied, body, program, random_weight

TARGETS = {"cpu": CPU}
SCALE = random_weight("s", 4)
NORM = """(%x: f32[B, 4], %z: f32[B, 4]) {
  %a = add(%x, %z) : f32[B, 4]
  %e = neg(%a) : f32[B, 4]
  %y = rms_norm(%a, @s) {epsilon=0.001} : f32[B, 4]  at layer
  return y=%y, a=%a, e=%e
}"""
GLU = """(%p: f32[B, 12]) {
  %u, %g, %r = split(%p) {axis=1, sizes=[5, 5, 2]} : f32[B, 5], f32[B, 5], f32[B, 2]
  %y = glu(%g, %u) {kind="silu"} : f32[B, 5]  at layer
  return y=%y, r=%r
}"""
ROPE = """(%q: f32[B, 2, S, 8], %k: f32[B, 1, S, 8], %p: i64[B, S], %f: f32[3]) {
  %y = rope(%q, %p, %f) {interleaved=true, scale=0.5} : f32[B, 2, S, 8]  at layer
  %z = rope(%k, %p, %f) {interleaved=true, scale=0.5} : f32[B, 1, S, 8]  at layer
  %w = rope(%k, %p, %f) {interleaved=true} : f32[B, 1, S, 8]  at layer
  return y=%y, z=%z, w=%w
}"""
ATTENTION = """(%q: f32[B, 4, S, 8], %k: i8[B, 2, S, 8], %c: f32[1, 2, 1, 8], %v: f32[B, 2, S, 8], %p: i64[1, S]) {
  %n = dequantize_tensor(%k, %c) : f32[B, 2, S, 8]
  %a = attention(%q, %n, %v, %p) {scale=0.5, mask="causal"} : f32[B, 4, S, 8]  at layer
  %y = merge_heads(%a) : f32[B, S, 32]  at layer
  return y=%y
}"""
APPEND = """(%x: f32[B, S, 32], %p: i64[B], %k: state<contiguous f32[B, 1, 30, 8]>,
             %v: state<contiguous f32[B, 1, 30, 8]>) {
  %a, %b, %c = split(%x) {axis=2, sizes=[16, 8, 8]} : f32[B, S, 16], f32[B, S, 8], f32[B, S, 8]  at layer
  %q = split_heads(%a) {heads=2} : f32[B, 2, S, 8]
  %d = split_heads(%b) {heads=1} : f32[B, 1, S, 8]
  %e = split_heads(%c) {heads=1} : f32[B, 1, S, 8]
  %k2 = kv_append(%k, %d, %p) : state<contiguous f32[B, 1, 30, 8]>  at layer
  %v2 = kv_append(%v, %e, %p) : state<contiguous f32[B, 1, 30, 8]>  at layer
  return q=%q, k=%k2, v=%v2
}"""
CODED = """(%x: f32[B, S, 32], %p: i64[B], %t: f32[], %k: state<contiguous i8[B, 1, 30, 8]>,
            %v: state<contiguous i8[B, 1, 30, 8]>, %vs: state<contiguous f32[B, 1, 30, 1]>) {
  %a, %b, %c = split(%x) {axis=2, sizes=[16, 8, 8]} : f32[B, S, 16], f32[B, S, 8], f32[B, S, 8]  at layer
  %q = split_heads(%a) {heads=2} : f32[B, 2, S, 8]
  %d = split_heads(%b) {heads=1} : f32[B, 1, S, 8]
  %e = split_heads(%c) {heads=1} : f32[B, 1, S, 8]
  %dc = quantize_tensor(%d, %t) {to=i8} : i8[B, 1, S, 8]
  %k2 = kv_append(%k, %dc, %p) : state<contiguous i8[B, 1, 30, 8]>  at layer
  %m = abs(%e) : f32[B, 1, S, 8]
  %l = amax(%m) {axes=[3], keepdims=true} : f32[B, 1, S, 1]
  %f = constant() {value=0.007874015748031496, dtype=f32} : f32[]
  %n = mul(%l, %f) : f32[B, 1, S, 1]
  %z = constant() {value=1.1754943508222875e-38, dtype=f32} : f32[]
  %s = maximum(%n, %z) : f32[B, 1, S, 1]
  %ec = quantize_tensor(%e, %s) {to=i8} : i8[B, 1, S, 8]
  %v2 = kv_append(%v, %ec, %p) : state<contiguous i8[B, 1, 30, 8]>  at layer
  %s2 = kv_append(%vs, %s, %p) : state<contiguous f32[B, 1, 30, 1]>  at layer
  return q=%q, k=%k2, v=%v2, s=%s2
}"""
HALVED = """(%x: f32[B, S, 32], %p: i64[B], %k: state<contiguous f16[B, 1, 30, 8]>,
             %v: state<contiguous f16[B, 1, 30, 8]>) {
  %a, %b, %c = split(%x) {axis=2, sizes=[16, 8, 8]} : f32[B, S, 16], f32[B, S, 8], f32[B, S, 8]  at layer
  %q = split_heads(%a) {heads=2} : f32[B, 2, S, 8]
  %d = split_heads(%b) {heads=1} : f32[B, 1, S, 8]
  %e = split_heads(%c) {heads=1} : f32[B, 1, S, 8]
  %dh = cast(%d) {dtype=f16} : f16[B, 1, S, 8]
  %eh = cast(%e) {dtype=f16} : f16[B, 1, S, 8]
  %k2 = kv_append(%k, %dh, %p) : state<contiguous f16[B, 1, 30, 8]>  at layer
  %v2 = kv_append(%v, %eh, %p) : state<contiguous f16[B, 1, 30, 8]>  at layer
  return q=%q, k=%k2, v=%v2
}"""
RING = """(%x: f32[B, S, 32], %p: i64[B], %o: i64[B], %k: state<ring f32[B, 1, 2, 8]>,
           %v: state<ring f32[B, 1, 2, 8]>) {
  %one = constant() {value=1, dtype=i64} : i64[]
  %r = minimum(%o, %one) : i64[B]
  %a, %b, %c = split(%x) {axis=2, sizes=[16, 8, 8]} : f32[B, S, 16], f32[B, S, 8], f32[B, S, 8]  at layer
  %q = split_heads(%a) {heads=2} : f32[B, 2, S, 8]
  %d = split_heads(%b) {heads=1} : f32[B, 1, S, 8]
  %e = split_heads(%c) {heads=1} : f32[B, 1, S, 8]
  %k2 = kv_append(%k, %d, %p, new_length=%r) : state<ring f32[B, 1, 2, 8]>  at layer
  %v2 = kv_append(%v, %e, %p, new_length=%r) : state<ring f32[B, 1, 2, 8]>  at layer
  return q=%q, k=%k2, v=%v2
}"""


def lowered(text: str, name: str, weights: str = "") -> tuple[str, list[str]]:
    """The text after a pass, and its near misses without rule and place."""
    after, misses = applied(program(text, weights), *parse_passes(name, TARGETS))
    assert {m.location for m in misses} <= {"layer"}
    return after, [m.reason for m in misses]


def test_a_sum_and_its_norm_are_one_op_even_where_the_sum_is_read_before() -> None:
    text, misses = lowered(NORM, "cpu-add-norms", SCALE)
    assert body(text) == ["cpu.add_rms_norm", "neg"]
    assert not misses
    layer = NORM.replace("rms_norm(%a, @s)", "layer_norm(%a, bias=@s)")
    assert "cpu.add_layer_norm(%x, %z, bias=@s)" in lowered(layer, "cpu-add-norms", SCALE)[0]


def test_sums_that_are_no_residuals_of_the_norm_stay() -> None:
    row = NORM.replace("%z: f32[B, 4]", "%z: f32[4]")
    computed = NORM.replace("%z: f32[B, 4])", "%z: f32[B, 4], %s: f32[4])").replace("@s", "%s")
    wide = NORM.replace("f32", "f64")
    for text, scale, reason in (
        (row, SCALE, "the sum is of f32[B, 4] and f32[4]"),
        (computed, "", "its scale or shift is computed in the graph"),
        (wide, SCALE.replace("f32", "f64"), "cpu takes no f64 in cpu.add_rms_norm"),
    ):
        after, misses = lowered(text, "cpu-add-norms", scale)
        assert "cpu." not in after
        assert misses == [reason]


def test_a_gated_unit_reads_columns_and_the_rest_is_still_split() -> None:
    text, misses = lowered(GLU, "cpu-gated-columns")
    assert 'cpu.gated_columns(%p) {kind="silu", size=5, gate=5, up=0}' in text
    assert "glu(" not in text.replace("cpu.gated", "")
    assert "split(%p)" in text
    assert not misses
    apart = GLU.replace("glu(%g, %u)", "glu(%g, %w)").replace("%p: f32[B, 12]", "%p: f32[B, 12], %w: f32[B, 5]")
    text, misses = lowered(apart, "cpu-gated-columns")
    assert "cpu." not in text
    assert misses == ["gate and up are not columns of one packed row"]


def test_rotary_embeddings_share_their_tables() -> None:
    text, _ = lowered(ROPE, "cpu-rotary-tables")
    kinds = body(text)
    assert (kinds.count("cpu.rotary_table"), kinds.count("cpu.rotary_embedding")) == (2, 3)


def test_rotary_embeddings_that_the_kernel_refuses_leave_no_table() -> None:
    wide = ROPE.replace("f32[B", "f64[B")
    text, misses = lowered(wide, "cpu-rotary-tables")
    assert body(text) == ["rope"] * 3
    assert set(misses) == {"cpu takes no f64 in cpu.rotary_embedding"}
    # Not even until the pass has ended, when dead ops are erased.
    for refused, left in (("f32[B", ["rope"] * 3), ("f32[B, 2", ["rope", "cpu.rotary_table", "cpu.rotary_embedding"])):
        source = program(ROPE.replace(refused, refused.replace("f32", "f64")))
        RotaryByTables(CPU).run_graph(source, source.graphs["forward"])
        assert body(print_graph(source.graphs["forward"]))[:3] == left


def test_attention_reads_codes_and_merges_heads() -> None:
    text, misses = lowered(ATTENTION, "cpu-attention")
    assert body(text) == ["cpu.attention"]
    assert "cpu.attention(%q, %k, %v, %p, key_scale=%c)" in text
    assert not misses


HALVES = ATTENTION.replace("%k: i8[B, 2, S, 8], %c: f32[1, 2, 1, 8]", "%k: f16[B, 2, S, 8]").replace(
    "dequantize_tensor(%k, %c)", "cast(%k) {dtype=f32}"
)


def test_attention_reads_halves() -> None:
    text, misses = lowered(HALVES, "cpu-attention")
    assert body(text) == ["cpu.attention"]
    assert "cpu.attention(%q, %k, %v, %p)" in text
    assert not misses


def test_attention_reads_no_other_narrow_floats() -> None:
    text, _ = lowered(HALVES.replace("f16", "bf16"), "cpu-attention")
    assert sorted(body(text)) == ["cast", "cpu.attention"]


@pytest.mark.parametrize(
    ("old", "new", "left", "reason"),
    [
        ("return y=%y", "return y=%y, a=%a", "merge_heads", "an output reads its heads by themselves too"),
        ("merge_heads(%a) : f32[B, S, 32]", "neg(%a) : f32[B, 4, S, 8]", "neg", "its heads are not put side by side"),
        (
            "f32[1, 2, 1, 8]",
            "f32[8]",
            "dequantize_tensor",
            "k: scales are f32[8]: not one for all, for each channel or for each token of each head",
        ),
        ("i8[", "u8[", "dequantize_tensor", "k: codes are u8[B, 2, S, 8], its kernel reads four axes of i8"),
    ],
)
def test_what_attention_cannot_take_in_stays_outside(old: str, new: str, left: str, reason: str) -> None:
    text, misses = lowered(ATTENTION.replace(old, new), "cpu-attention")
    assert sorted(body(text)) == sorted(["cpu.attention", left])
    assert misses == [reason]


@pytest.mark.parametrize("text", [APPEND, CODED, HALVED, RING])
def test_a_packed_row_goes_to_queries_and_caches_in_one_op(text: str) -> None:
    after, misses = lowered(text, "cpu-rotary-append")
    assert [name for name in body(after) if name != "minimum"] == ["cpu.rotary_append"]
    assert "{heads=2, query=0, key=16, value=24}" in after
    assert not misses


_TURNED = APPEND.replace("%p: i64[B],", "%p: i64[B], %ps: i64[B, S], %f: f32[3],").replace(
    "  %k2 = kv_append(%k, %d, %p)",
    """  %qr = rope(%q, %ps, %f) {interleaved=false} : f32[B, 2, S, 8]
  %dr = rope(%d, %ps, %f) {interleaved=false} : f32[B, 1, S, 8]
  %k2 = kv_append(%k, %dr, %p)""",
)
TURNED = _TURNED.replace("return q=%q", "return q=%qr")


def test_turned_queries_and_keys_too() -> None:
    after, misses = lowered(TURNED, "cpu-rotary-tables,cpu-rotary-append")
    assert body(after) == ["cpu.rotary_table", "cpu.rotary_append"]
    assert not misses


@pytest.mark.parametrize(
    ("text", "old", "new", "reason"),
    [
        (
            APPEND,
            "return q=%q",
            "return d=%d, q=%q",
            "an output reads what split_heads gives too",
        ),
        (APPEND, "return q=%q", "return c=%c, q=%q", "an output reads what split gives too"),
        (
            APPEND.replace("%p: i64[B]", "%p: i64[B], %p2: i64[B]"),
            "kv_append(%v, %e, %p)",
            "kv_append(%v, %e, %p2)",
            "keys and values are appended at different places",
        ),
        (
            APPEND.replace(",\n             %v: state<contiguous f32[B, 1, 30, 8]>", ""),
            "kv_append(%v, ",
            "kv_append(%k, ",
            "cpu: keys and values go into one cache",
        ),
        (
            APPEND,
            "%k2 = kv_append(%k, %d",
            "%n = neg(%d) : f32[B, 1, S, 8]\n  %k2 = kv_append(%k, %n",
            "parts of it go to neg",
        ),
        (TURNED, "rope(%q, %ps, %f) {interleaved=false", "rope(%q, %ps, %f) {interleaved=true", "turned differently"),
        (TURNED, "rope(%d, %ps, %f) {interleaved=false", "rope(%d, %ps, %f) {scale=0.5, interleaved=false", "turned"),
        (HALVED, "return q=%q", "return h=%dh, q=%q", "an output reads what cast gives too"),
        (CODED, "0.007874015748031496", "0.01", "scales are f32[B, 1, S, 1]: not one for the cache"),
    ],
)
def test_rows_that_one_pass_cannot_take_stay(text: str, old: str, new: str, reason: str) -> None:
    after, misses = lowered(text.replace(old, new), "cpu-rotary-tables,cpu-rotary-append")
    assert "cpu.rotary_append" not in after
    assert len(misses) == 1
    assert reason in misses[0]


ROUNDED = """(%x: f32[B, 32]) {
  %r = fake_quantize(%x) {to=i8, group=16} : f32[B, 32]
  %y = linear(%r, @w) : f32[B, 4]  at layer
  return y=%y
}"""
WEIGHT = random_weight("w", 4, 32)
_FOUR_BITS = WEIGHT.replace(
    "weight @w : f32[4, 32] = data(", "weight @w : q4<g16, sym>[4, 32] = round_to_nearest(data("
)
FOUR_BITS = _FOUR_BITS.rstrip() + ") {to=i4, group=16}\n"


def test_products_round_their_activations() -> None:
    text, misses = lowered(ROUNDED, "cpu-rounded-linear", FOUR_BITS)
    assert body(text) == ["cpu.rounded_linear"]
    assert "{group=16}" in text
    assert not misses
    kept = ROUNDED.replace("return y=%y", "return y=%y, r=%r")
    assert sorted(body(lowered(kept, "cpu-rounded-linear", FOUR_BITS)[0])) == ["cpu.rounded_linear", "fake_quantize"]


@pytest.mark.parametrize(
    ("old", "new", "weights", "reason"),
    [
        ("to=i8", "to=f8e4m3", FOUR_BITS, "activations are rounded to f8e4m3, its kernel rounds to i8"),
        ("group=16", "group=12", FOUR_BITS, "cpu: no kernel multiplies groups of 16 by groups of 12"),
        ("group=16", "group=16", WEIGHT, "its weight is f32[4, 32], not of codes"),
    ],
)
def test_rounding_that_no_product_does_stays(old: str, new: str, weights: str, reason: str) -> None:
    text, misses = lowered(ROUNDED.replace(old, new), "cpu-rounded-linear", weights)
    assert body(text) == ["fake_quantize", "linear"]
    assert misses == [reason]


NARROW = """(%x: f32[B, 32]) {
  %n = cast(%x) {dtype=bf16} : bf16[B, 32]
  %r = cast(%n) {dtype=f32} : f32[B, 32]
  %y = linear(%r, @w) : f32[B, 4]  at layer
  return y=%y
}"""
BF16_NUMBERS = WEIGHT.replace("= data(", "= cast(cast(data(").rstrip() + ") {dtype=bf16}) {dtype=f32}\n"


def test_products_round_to_bf16() -> None:
    text, misses = lowered(NARROW, "cpu-bf16-linear", BF16_NUMBERS)
    assert body(text) == ["cpu.bf16_linear"]
    assert not misses
    after = program(NARROW, BF16_NUMBERS)
    run_passes(after, parse_passes("cpu-bf16-linear", TARGETS))
    (product,) = after.graphs["forward"]
    reads = product.definition.price(product).reads
    assert [str(bits) for bits in reads] == [f"{32 * 32}*B", str(16 * 4 * 32)], "a weight is read as 16 bits a number"
    kept = NARROW.replace("return y=%y", "return y=%y, r=%r")
    assert sorted(body(lowered(kept, "cpu-bf16-linear", BF16_NUMBERS)[0])) == ["cast", "cast", "cpu.bf16_linear"]


@pytest.mark.parametrize(
    ("old", "new", "weights", "misses"),
    [
        ("cast", "cast", WEIGHT, ["its weight may hold more than bf16 numbers"]),
        ("bf16", "f16", BF16_NUMBERS, []),
    ],
)
def test_what_bf16_products_would_change_stays(old: str, new: str, weights: str, misses: list[str]) -> None:
    text, found = lowered(NARROW.replace(old, new), "cpu-bf16-linear", weights)
    assert body(text) == ["cast", "cast", "linear"]
    assert found == misses


def test_codes_that_no_product_reads_are_written_as_floats() -> None:
    # Scales are 7 / 448 and 7 / 7, powers of two, so that codes times scales are numbers of float32.
    numbers = ", ".join(str(7.0 if i % 16 == 0 else i % 5 - 2.0) for i in range(4 * 32))
    rounded = f"round_to_nearest(data([{numbers}]) : f32[4, 32])"
    eight = f"weight @w : qf8e4m3<g16, sym>[4, 32] = {rounded} {{to=f8e4m3, group=16}}"
    four = f"weight @w : q4<g16, sym>[4, 32] = {rounded} {{to=i4, group=16}}"
    text, misses = lowered(
        ROUNDED.replace("fake_quantize(%x) {to=i8, group=16}", "neg(%x)"), "cpu-stored-weights", eight
    )
    assert "linear(%0, @w.f32)" in text
    assert misses == ["cpu: no kernel reads codes of f8e4m3"]
    double = "(%x: f64[B, 32]) {\n  %y = linear(%x, @w) : f64[B, 4]  at layer\n  return y=%y\n}"
    text, misses = lowered(double, "cpu-stored-weights", four)
    assert "linear(%x, @w.f64)" in text
    assert misses == ["cpu takes no f64 in linear"]
    made = """(%x: f32[B, 32]) {
  %d = dequantize(@w) : f32[4, 32]
  %y = linear(%x, %d) : f32[B, 4]  at layer
  return y=%y
}"""
    assert "linear(%x, @w.dequantize)" in lowered(made, "cpu-stored-weights", four)[0]


def test_findings_are_declared() -> None:
    for name in ("llama", "qwen3", "alibi", "mixed-heads", "gpt2"):
        source = decoder(MODELS[name])
        for each in cpu_lowering(CPU):
            outcome = each.run(source)
            found = {*outcome.hits, *(m.rule for m in outcome.near_misses)}
            assert found <= set(each.rule_names()), each.name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "mixed-heads"])
def test_every_pass_is_proven(name: str) -> None:
    passes = (*PHASES, *cpu_lowering(CPU))
    report = run_passes(decoder(MODELS[name]), passes, prover=InterpreterProver())
    statuses = {r.name: r.proof.status for r in report.records if r.proof is not None}
    assert list(statuses) == [str(each) for each in passes]
    fused = {name for name, status in statuses.items() if status == "proven"} - {str(PHASES[0])}
    tables = "cpu-rotary-tables"
    assert fused == {tables, "cpu-attention", "cpu-rotary-append", "cpu-gated-columns", "cpu-add-norms"}


def test_the_pipeline_ends_with_the_passes() -> None:
    passes = (*PHASES, *cpu_lowering(CPU))
    assert find_pipeline("cpu-tvm")[-len(passes) :] == passes


def test_passes_are_handed_what_kernels_take_and_are_spelt_without() -> None:
    for each in cpu_lowering(CPU):
        assert str(each) == each.name
        assert parse_passes(str(each), TARGETS) == [each]
    with pytest.raises(PassError, match=r"^pass cpu-copies lowers for the kernels of 'cpu', and none are given$"):
        parse_passes("cpu-copies")
    with pytest.raises(PassError, match=r"^pass cpu-copies has no option 'target'; it takes none$"):
        parse_passes("cpu-copies{target=cpu}", TARGETS)
