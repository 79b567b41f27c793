"""KV-cache insertion: the cached graph continues sequences exactly; what is not proven causal is refused by name."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import Graph, Interpreter, PassError, Program, print_program
from graphwright.passes import run_passes
from graphwright.passes.kv_cache.insert_kv_cache import InsertKVCache
from graphwright.passes.kv_cache.select_logits import SelectLogits
from graphwright.passes.kv_cache.specialize import Specialize
from tests.passes.graphs import program, random_weight

WEIGHTS = (
    random_weight("table", 16, 8)
    + random_weight("places", 32, 8)
    + random_weight("q", 8, 8)
    + random_weight("k", 4, 8)
    + random_weight("v", 4, 8)
    + random_weight("o", 8, 8)
    + "weight @f : f32[2] = data([1.0, 0.1]) : f32[2]\n"
)

MODEL = """(%input_ids: i64[B, S]) {{
  %tokens = embedding(@table, %input_ids) : f32[B, S, 8]  at model.embed
  %i = iota() {{size=S, dtype=i64}} : i64[S]
  %pos = reshape(%i) {{shape=[1, S]}} : i64[1, S]
  {places}
  %x = add(%tokens, %place) : {x}  at model.embed
  %q0 = linear(%x, @q) : f32[B, S, 8]
  %k0 = linear(%x, @k) : f32[B, S, 4]
  %v0 = linear(%x, @v) : f32[B, S, 4]
  %q1 = split_heads(%q0) {{heads=2}} : f32[B, 2, S, 4]
  %k1 = split_heads(%k0) {{heads=1}} : f32[B, 1, S, 4]
  %v1 = split_heads(%v0) {{heads=1}} : f32[B, 1, S, 4]
  %q2 = rope(%q1, %pos, @f) {{interleaved=false}} : f32[B, 2, S, 4]
  %k2 = rope(%k1, %pos, @f) {{interleaved=true}} : f32[B, 1, S, 4]
  %a = attention(%q2, %k2, %v1, %pos{extra}) {{scale=0.7, mask={mask}}} : f32[B, 2, S, 4]  at model.attn
  %m = merge_heads(%a) : f32[B, S, 8]
  {mix}
  %h = linear(%n, @o) : f32[B, S, 8]
  %r = add(%x, %h) : f32[B, S, 8]
  %logits = linear(%r, @table) : f32[B, S, 16]  at model.head
  return logits=%logits
}}"""

PLACES = {
    "none": "%place = constant() {value=0.0, dtype=f32} : f32[]",
    "learned, rank 2": "%place = embedding(@places, %i) : f32[S, 8]",
    "learned, rank 3": "%place = embedding(@places, %pos) : f32[1, S, 8]",
    "from a sliced table": "%place = slice(@places) {axis=0, stop=S} : f32[S, 8]",
    "offset by two": """%two = constant() {value=2, dtype=i64} : i64[]
  %shifted = add(%pos, %two) : i64[1, S]
  %place = embedding(@places, %shifted) : f32[1, S, 8]""",
    "expanded over the batch": """%wide = expand(%pos) {shape=[B, S]} : i64[B, S]
  %zero = constant() {value=0, dtype=i64, shape=[B, S]} : i64[B, S]
  %both = add(%wide, %zero) : i64[B, S]
  %place = embedding(@places, %both) : f32[B, S, 8]""",
    "sines": """%t = cast(%i) {dtype=f32} : f32[S]
  %t1 = reshape(%t) {shape=[S, 1]} : f32[S, 1]
  %t4 = expand(%t1) {shape=[S, 4]} : f32[S, 4]
  %sin = sin(%t4) : f32[S, 4]
  %cos = cos(%t4) : f32[S, 4]
  %place = concat(%sin, %cos) {axis=1} : f32[S, 8]""",
}


def model(
    places: str = PLACES["none"],
    mask: str = '"causal"',
    extra: str = "",
    mix: str = "%n = neg(%m) : f32[B, S, 8]  at model.mix",
    x: str = "f32[B, S, 8]",
) -> Program:
    return program(MODEL.format(places=places, mask=mask, extra=extra, mix=mix, x=x), WEIGHTS)


def continued(graph: Graph, rows: list[list[int]], chunks: list[int], capacity: int = 24) -> list[torch.Tensor]:
    """Logits of each row's tokens, fed in chunks of the given sizes (cut to each row's length), padded on the right."""
    batch = len(rows)
    caches = {
        v.name: torch.full([d.evaluate({"B": batch, "C": capacity}) for d in v.type.shape], float("nan"))
        for v in graph.inputs
        if v.name is not None and v.name.startswith("past.")
    }
    past = torch.zeros(batch, dtype=torch.int64)
    found: list[list[torch.Tensor]] = [[] for _ in rows]
    for size in chunks:
        parts = [row[int(p) : int(p) + size] for row, p in zip(rows, past, strict=True)]
        new = torch.tensor([len(part) for part in parts])
        # whatever stands in the padding must not matter
        ids = torch.tensor([part + [7] * (size - len(part)) for part in parts])
        out = Interpreter().run(graph, {"input_ids": ids, "past_length": past, "new_length": new, **caches})
        for row, (logits, n) in enumerate(zip(out["logits"], new, strict=True)):
            found[row].append(logits[: int(n)])
        caches = {name: out[name.replace("past", "present")] for name in caches}
        past = past + new
    return [torch.cat(f) for f in found]


@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("mask", ['"causal"', '"sliding", window=3', '"chunked", window=4'])
def test_continuing_equals_starting_anew(places: str, mask: str) -> None:
    before = model(PLACES[places], mask)
    forward = before.graphs["forward"]
    run_passes(before, [InsertKVCache()])
    assert_continues(forward, before.graphs["prefill"])


def assert_continues(forward: Graph, prefill: Graph) -> None:
    """Ragged rows in chunks give the logits that the whole sequences give."""
    rows = [[1, 5, 3, 2, 9, 11, 4, 8, 0, 6, 2, 1], [3, 3, 14, 15, 2], [9, 2, 6, 5, 3, 5, 8]]
    expected = [Interpreter().run(forward, {"input_ids": torch.tensor([row])})["logits"][0] for row in rows]
    found = continued(prefill, rows, [4, 1, 2, 1, 1, 3])
    for one, other in zip(expected, found, strict=True):
        assert other.shape[0] == min(12, one.shape[0])
        # sums of at most 16 products of size about 10 in float32, in another order
        torch.testing.assert_close(other, one, rtol=0, atol=16 * 10 * 2**-23 * 8)


FOLDED = """%flat = reshape(%m) {shape=[B*S, 8]} : f32[B*S, 8]
  %parts = reshape(%flat) {shape=[B*S, 2, 4]} : f32[B*S, 2, 4]
  %soft = softmax(%parts) {axis=1} : f32[B*S, 2, 4]
  %n = reshape(%soft) {shape=[B, S, 8]} : f32[B, S, 8]"""


def test_tokens_may_be_folded_into_the_batch() -> None:
    before = model(mix=FOLDED)
    forward = before.graphs["forward"]
    run_passes(before, [InsertKVCache()])
    assert_continues(forward, before.graphs["prefill"])


def test_decode_is_prefill_of_one_token() -> None:
    before = model()
    run_passes(before, [InsertKVCache(), SelectLogits(), Specialize()])
    decode = before.graphs["decode"]
    assert str(decode.input("input_ids").type) == "i64[B, 1]"
    assert str(decode.outputs["logits"].type) == "f32[B, N, 16]"
    assert decode.outputs.keys() == before.graphs["prefill"].outputs.keys()


def test_select_logits_moves_in_front_of_the_head() -> None:
    before = model()
    run_passes(before, [InsertKVCache()])
    every = before.graphs["prefill"]
    run_passes(before, [SelectLogits()])
    some = before.graphs["prefill"]
    assert [op.name for op in some][-2:] == ["take_tokens", "linear"]
    inputs = {
        "input_ids": torch.tensor([[1, 2, 3], [4, 5, 6]]),
        "past_length": torch.tensor([0, 0]),
        "new_length": torch.tensor([3, 2]),
        **{f"past.0.{n}": torch.zeros(2, 1, 8, 4) for n in ("key", "value")},
    }
    whole = Interpreter().run(every, inputs)["logits"]
    part = Interpreter().run(some, {**inputs, "logit_positions": torch.tensor([[2, 0], [1, 1]])})["logits"]
    assert torch.equal(part, torch.stack([whole[0, [2, 0]], whole[1, [1, 1]]]))


REFUSED = {
    "its mask is 'full'": {"mask": '"full"'},
    "attention at model.attn: its mask is 'prefix'": {"mask": '"prefix", window=2'},
    "mean at model.mix: it mixes tokens along axis 1": {
        "mix": "%a1 = mean(%m) {axes=[1], keepdims=true} : f32[B, 1, 8]  at model.mix\n"
        "  %n = add(%m, %a1) : f32[B, S, 8]"
    },
    "softmax at model.mix: it mixes tokens along axis 1": {
        "mix": "%n = softmax(%m) {axis=1} : f32[B, S, 8]  at model.mix"
    },
    "cumsum at model.mix: it mixes tokens": {"mix": "%n = cumsum(%m) {axis=1} : f32[B, S, 8]  at model.mix"},
    "matmul at model.mix: it mixes tokens": {
        "mix": """%mt = transpose(%m) {permutation=[0, 2, 1]} : f32[B, 8, S]  at model.mix
  %g = matmul(%mt, %m) : f32[B, 8, 8]  at model.mix
  %n = matmul(%m, %g) : f32[B, S, 8]"""
    },
    "reshape at model.mix: it mixes tokens": {
        "mix": """%flat = reshape(%m) {shape=[B, 8, S]} : f32[B, 8, S]  at model.mix
  %n = transpose(%flat) {permutation=[0, 2, 1]} : f32[B, S, 8]"""
    },
    "reshape at model.unfold: it mixes tokens along axis 0 of f32[B*S, 8]": {
        "mix": """%t = transpose(%m) {permutation=[1, 0, 2]} : f32[S, B, 8]
  %flat = reshape(%t) {shape=[B*S, 8]} : f32[B*S, 8]
  %n = reshape(%flat) {shape=[B, S, 8]} : f32[B, S, 8]  at model.unfold"""
    },
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_not_proven_causal_is_refused(reason: str) -> None:
    before = model(**REFUSED[reason])
    text = print_program(before)
    with pytest.raises(PassError) as caught:
        run_passes(before, [InsertKVCache()])
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert print_program(before) == text, "a refusal leaves the program as it was"


def test_a_graph_with_another_input_is_refused() -> None:
    with pytest.raises(PassError, match="must have the one input input_ids"):
        run_passes(program("(%x: f32[B, S, 4]) {\n  return logits=%x\n}"), [InsertKVCache()])
