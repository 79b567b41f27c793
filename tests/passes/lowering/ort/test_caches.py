"""Passes about caches on IR text: packed codes, rings, padding; what they make, and what they leave alone."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import Interpreter, print_graph
from graphwright.passes import parse_passes, run_passes
from tests.passes.graphs import applied, body, program
from tests.tensors import listed

SCALE = "weight @scale : f32[] = data([0.25]) : f32[]\n"
CODES = "state<contiguous i4[B, 2, 24, 8]>"
NO_CACHE = """(%x: f32[B, 2, S, 8]) {
  %c = quantize_tensor(%x, @scale) {to=i4} : i4[B, 2, S, 8]  at layer
  %y = dequantize_tensor(%c, @scale) : f32[B, 2, S, 8]  at layer
  return y=%y
}"""
NARROW_CACHE = f"""(%x: f32[B, 2, S, 8], %past: i64[B], %cache: {CODES}) {{
  %c = quantize_tensor(%x, @scale) {{to=i4}} : i4[B, 2, S, 8]
  %a = kv_append(%cache, %c, %past) : {CODES}  at layer
  %r = kv_read(%a) : i4[B, 2, 24, 8]
  %y = dequantize_tensor(%r, @scale) : f32[B, 2, 24, 8]
  return y=%y, a=%a
}}"""


def packed(text: str) -> tuple[str, list[str]]:
    """The text after the pass, and its near misses. A cache changes its type, so values are compared elsewhere:
    `tests/backends/test_quantized_caches.py`."""
    source = program(text, SCALE)
    report = run_passes(source, parse_passes("ort-packed-caches"))
    return print_graph(source.graphs["forward"]), [str(m) for m in report.near_misses]


def test_a_cache_of_four_bits_holds_two_codes_in_a_byte() -> None:
    text, misses = packed(NARROW_CACHE)
    assert "%cache: state<contiguous u8[B, 2, 24, 4]>" in text
    assert body(text) == ["onnx.quantize_packed", "kv_append", "kv_read", "onnx.dequantize_packed"]
    assert not misses


@pytest.mark.parametrize("layout", ["contiguous", "ring"])
def test_packed_caches_hold_the_same_codes(layout: str) -> None:
    """Code + 8 of an even element is the lower half of a byte, that of the next one the upper half."""
    ring = layout == "ring"
    text = NARROW_CACHE.replace("contiguous", layout)
    if ring:
        text = text.replace("%past: i64[B],", "%past: i64[B], %new: i64[B],").replace(
            "%past)", "%past, new_length=%new)"
        )
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-8, 8, (2, 2, 24, 8), generator=generator, dtype=torch.int8)
    x = torch.randn(2, 2, 3, 8, generator=generator)
    given = {"x": x, "past": torch.tensor([5, 20]), "cache": codes} | ({"new": torch.tensor([3, 2])} if ring else {})
    source = program(text, SCALE)
    before = Interpreter().run(source.graphs["forward"], given)
    run_passes(source, parse_passes("ort-packed-caches"))
    after = Interpreter().run(source.graphs["forward"], {**given, "cache": in_pairs(codes)})
    assert torch.equal(after["y"], before["y"])
    assert torch.equal(after["a"], in_pairs(before["a"]))


def in_pairs(codes: torch.Tensor) -> torch.Tensor:
    high, low = (codes[..., 1::2].int() + 8) * 16, codes[..., 0::2].int() + 8
    return (high + low).to(torch.uint8)


def test_caches_of_bytes_and_codes_that_no_cache_holds_stay() -> None:
    for text in (NARROW_CACHE.replace("i4", "i8"), NO_CACHE):
        after, misses = packed(text)
        assert body(after) == body(text)
        assert not misses


def test_a_cache_whose_codes_are_used_otherwise_stays_and_says_why() -> None:
    other = NARROW_CACHE.replace(
        "return y=%y", "%t = cast(%r) {dtype=i8} : i8[B, 2, 24, 8]  at other\n  return y=%y, t=%t"
    )
    after, misses = packed(other)
    assert "i4[B, 2, 24, 8]>" in after
    assert misses == ["packed-caches at other: cast takes codes of four bits one by one"]
    after, misses = packed(NARROW_CACHE.replace(", 8]", ", 7]"))
    assert "i4[B, 2, 24, 7]>" in after
    assert misses == ["packed-caches: 7 codes of four bits are not a whole number of bytes"]


RING = "state<ring f32[B, 2, 4, 8]>"
APPENDED = f"""(%x: f32[B, 2, 5, 8], %past: i64[B], %new: i64[B], %cache: {RING}) {{
  %r = kv_read(%cache) : f32[B, 2, 4, 8]
  %j = concat(%r, %x) {{axis=2}} : f32[B, 2, 9, 8]
  %a = kv_append(%cache, %x, %past, new_length=%new) : {RING}  at layer
  %p = ring_positions(%past) {{capacity=4}} : i64[B, 4]
  return j=%j, p=%p, a=%a
}}"""


def test_an_append_to_a_ring_is_one_gather_from_what_attention_reads() -> None:
    text, misses = applied(program(APPENDED), *parse_passes("ort-ring-caches"))
    names = body(text)
    assert names.count("onnx.gather_ring") == 1
    assert names.count("concat") == 1
    assert not {"kv_append", "ring_positions"} & set(names)
    assert not misses


GROWS = """(%x: f32[B, 2, 5, 8], %past: i64[B], %cache: state<contiguous f32[B, 2, 9, 8]>) {
  %a = kv_append(%cache, %x, %past) : state<contiguous f32[B, 2, 9, 8]>  at layer
  return a=%a
}"""


def test_a_cache_that_grows_is_no_ring() -> None:
    text, misses = applied(program(GROWS), *parse_passes("ort-ring-caches"))
    assert body(text) == ["kv_append"]
    assert not misses


GROWING = "state<contiguous f32[B, 2, 24, 8]>"
COUNTS = "%last: i32[B], %total: i32[], %count: i32[B]"
WINDOWED = f"""(%q: f32[B, S, 16], %x: f32[B, 2, S, 8], %past: i64[B], {COUNTS}, %k: {GROWING}, %v: {GROWING},
  %c: {GROWING}) {{
  %y, %nk, %nv = ort.group_query_attention(%q, %k, %v, %last, %total, %count, key=%q, value=%q)
    {{heads=2, scale=0.5, window=3}} : f32[B, S, 16], {GROWING}, {GROWING}  at first
  %a = kv_append(%c, %x, %past) : {GROWING}  at second
  return a=%a, y=%y
}}"""


@pytest.mark.parametrize(("window", "kept"), [("window=3", False), ("window=0", True)])
def test_what_a_windowed_operator_leaves_in_padding_is_zeroed_before_a_cache_takes_it(window: str, kept: bool) -> None:
    """The new tokens behind the count, and no others, are zeros in what is appended."""
    source = program(WINDOWED.replace("window=3", window))
    report = run_passes(source, parse_passes("ort-padding"))
    assert not report.near_misses
    assert report.hits.get("keep-padding-finite", 0) == (0 if kept else 1)
    cache = torch.zeros(2, 2, 24, 8)
    x = torch.ones(2, 2, 5, 8)
    given = {"q": torch.ones(2, 5, 16), "x": x, "past": torch.tensor([3, 0]), "k": cache, "v": cache, "c": cache}
    counts = {"last": torch.tensor([5, 4]), "total": torch.tensor(6), "count": torch.tensor([3, 5])}
    inputs = {**given, **{name: value.int() for name, value in counts.items()}}
    appended = Interpreter().run(source.graphs["forward"], inputs)["a"]
    rows = appended[:, 0, :, 0]
    assert listed(rows[0, 3:8]) == ([1.0] * 5 if kept else [1.0, 1.0, 1.0, 0.0, 0.0])
    assert listed(rows[1, :5]) == [1.0] * 5
