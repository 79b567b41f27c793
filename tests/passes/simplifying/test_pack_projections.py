from __future__ import annotations

import torch

from graphwright.ir import Dim, StoredArray, ops
from graphwright.ir.weights import Applied
from graphwright.passes.simplifying.pack_projections import PackProjections, concatenate
from tests.passes.graphs import applied, body, program, random_weight

WEIGHTS = "".join(random_weight(n, 8, 8) for n in ("m.q.weight", "m.k.weight", "m.v.weight")) + "".join(
    random_weight(n, 8) for n in ("m.q.bias", "m.k.bias", "m.v.bias")
)

ATTENTION = """(%x: f32[B, S, 8]) {{
  %i = iota() {{size=S, dtype=i64}} : i64[S]
  %pos = reshape(%i) {{shape=[1, S]}} : i64[1, S]
  %q = linear(%x, @m.q.weight{q}) : f32[B, S, 8]  at m.q
  %k = linear({k_input}, @m.k.weight{k}) : f32[B, S, 8]  at m.k
  %v = linear(%x, @m.v.weight{v}) : f32[B, S, 8]  at m.v
  %qh = split_heads(%q) {{heads=2}} : f32[B, 2, S, 4]
  %kh = split_heads(%k) {{heads=2}} : f32[B, 2, S, 4]
  %vh = split_heads(%v) {{heads=2}} : f32[B, 2, S, 4]
  %y = attention(%qh, %kh, %vh, %pos) {{scale=0.5, mask="causal"}} : f32[B, 2, S, 4]  at m
  return y=%y
}}"""


def attention(q: str = "", k: str = "", v: str = "", k_input: str = "%x") -> str:
    return ATTENTION.format(q=q, k=k, v=v, k_input=k_input)


def test_three_projections_become_one() -> None:
    text, _ = applied(program(attention(), WEIGHTS), PackProjections())
    assert "linear(%x, @m.q_k_v.weight) : f32[B, S, 24]  at m\n" in text
    assert "split(%2) {axis=2, sizes=[8, 8, 8]}" in text
    assert body(text).count("linear") == 1


def test_biases_are_packed_too() -> None:
    biased = attention(*(f", bias=@m.{n}.bias" for n in "qkv"))
    text, _ = applied(program(biased, WEIGHTS), PackProjections())
    assert "linear(%x, @m.q_k_v.weight, bias=@m.q_k_v.bias)" in text


def test_mixed_biases_stay_apart() -> None:
    text, misses = applied(program(attention(q=", bias=@m.q.bias"), WEIGHTS), PackProjections())
    assert body(text).count("linear") == 3
    assert any("some projections have a bias" in m.reason for m in misses)


def test_projections_of_different_inputs_stay_apart() -> None:
    before = program(attention(k_input="%n").replace("%k = ", "%n = neg(%x) : f32[B, S, 8]\n  %k = "), WEIGHTS)
    text, _ = applied(before, PackProjections())
    assert "split(" in text
    assert "sizes=[8, 8]}" in text  # q and v, which share their input
    assert body(text).count("linear") == 2


def test_consecutive_pieces_of_one_weight_are_that_weight_again() -> None:
    whole = StoredArray.of(torch.arange(24.0).reshape(6, 4))

    def piece(start: int, stop: int) -> Applied:
        return Applied.of(ops.slice, (whole,), {"axis": 0, "start": Dim.of(start), "stop": Dim.of(stop)})

    assert concatenate([piece(0, 2), piece(2, 3), piece(3, 1 << 62)]) is whole
    for parts in ([piece(2, 6), piece(0, 2)], [piece(0, 2), piece(2, 5)], [piece(0, 3), piece(2, 6)]):
        joined = concatenate(parts)
        assert joined is not whole
        assert torch.equal(joined.evaluate(), torch.cat([p.evaluate() for p in parts]))


def test_gate_and_up() -> None:
    before = program(
        """(%x: f32[B, S, 8]) {
  %g = linear(%x, @m.q.weight) : f32[B, S, 8]
  %u = linear(%x, @m.k.weight) : f32[B, S, 8]
  %y = glu(%g, %u) {kind="silu"} : f32[B, S, 8]
  return y=%y
}""",
        WEIGHTS,
    )
    assert body(applied(before, PackProjections())[0]) == ["linear", "split", "glu"]
