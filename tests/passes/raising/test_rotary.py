from __future__ import annotations

import pytest
import torch

from graphwright.passes import run_passes
from graphwright.passes.raising.rotary import RaiseRotary, Rotation, classify
from tests.passes.graphs import applied, program

FREQUENCIES = "weight @f : f32[2] = data([1.0, 0.009999999776482582]) : f32[2]\n"
HALF = """(%q: f32[B, 2, S, {size}], %k: f32[B, 2, S, {size}], %v: f32[B, 2, S, {size}]) {{
  %i = iota() {{size=S, dtype=i64}} : i64[S]
  %pos = reshape(%i) {{shape=[1, S]}} : i64[1, S]
  %p = cast(%i) {{dtype=f32}} : f32[S]
  %p1 = reshape(%p) {{shape=[S, 1]}} : f32[S, 1]
  %angle = mul(%p1, @f) : f32[S, 2]
  %both = concat(%angle, %angle) {{axis=1}} : f32[S, 4]
  %cos = cos(%both) : f32[S, 4]
  %sin = sin(%both) : f32[S, 4]
"""


def rotate(x: str, name: str, sign: str = "neg") -> str:
    return f"""  %{name}a = slice(%{x}) {{axis=3, start=0, stop=2}} : f32[B, 2, S, 2]
  %{name}b = slice(%{x}) {{axis=3, start=2, stop=4}} : f32[B, 2, S, 2]
  %{name}n = {sign}(%{name}b) : f32[B, 2, S, 2]
  %{name}h = concat(%{name}n, %{name}a) {{axis=3}} : f32[B, 2, S, 4]
"""


def turned(x: str, name: str, source: str) -> str:
    return f"""  %{name}c = mul(%{source}, %cos) : f32[B, 2, S, 4]
  %{name}s = mul(%{name}h, %sin) : f32[B, 2, S, 4]
  %{name} = add(%{name}c, %{name}s) : f32[B, 2, S, 4]
"""


TAIL = """  %y = attention(%{q}, %{k}, %v, %pos) {{scale=0.5, mask="causal"}} : f32[B, 2, S, {size}]
  return y=%y
}}"""


def test_half_split() -> None:
    text = HALF.format(size=4) + rotate("q", "x") + turned("q", "x", "q") + rotate("k", "z") + turned("k", "z", "k")
    after, misses = applied(program(text + TAIL.format(q="x", k="z", size=4), FREQUENCIES), RaiseRotary())
    assert after.count("= rope(%") == 2
    assert after.count("{interleaved=false}") == 2
    assert "cos(" not in after
    assert not misses


def test_partial() -> None:
    part = """  %q0 = slice(%q) {axis=3, start=0, stop=4} : f32[B, 2, S, 4]
  %q1 = slice(%q) {axis=3, start=4, stop=6} : f32[B, 2, S, 2]
"""
    joined = "  %whole = concat(%x, %q1) {axis=3} : f32[B, 2, S, 6]\n"
    text = HALF.format(size=6) + part + rotate("q0", "x") + turned("q0", "x", "q0") + joined
    after, _ = applied(program(text + TAIL.format(q="whole", k="k", size=6), FREQUENCIES), RaiseRotary())
    assert "rope(%q," in after
    assert "concat" not in after


def test_without_the_minus_it_is_no_rotation() -> None:
    text = HALF.format(size=4) + rotate("q", "x", sign="abs") + turned("q", "x", "q")
    after, _ = applied(program(text + TAIL.format(q="x", k="k", size=4), FREQUENCIES), RaiseRotary())
    assert "rope" not in after  # |x| is not linear
    text = HALF.format(size=4) + rotate("q", "x").replace("neg(%xb)", "reshape(%xb) {shape=[B, 2, S, 2]}")
    after, misses = applied(
        program(text + turned("q", "x", "q") + TAIL.format(q="x", k="k", size=4), FREQUENCIES), RaiseRotary()
    )
    assert "rope" not in after
    assert any("do not turn by their frequencies" in m.reason for m in misses), misses


def test_a_rotation_that_changes_far_out_is_refused() -> None:
    """The first 200 positions turn by their frequency, later ones twice as fast."""
    switched = (
        HALF.format(size=4).replace(
            "  %angle = mul(%p1, @f) : f32[S, 2]",
            """  %far = constant() {value=200.0, dtype=f32} : f32[]
  %late = gt(%p1, %far) : bool[S, 1]
  %doubled = add(%p1, %p1) : f32[S, 1]
  %place = where(%late, %doubled, %p1) : f32[S, 1]
  %angle = mul(%place, @f) : f32[S, 2]""",
        )
        + rotate("q", "x")
        + turned("q", "x", "q")
    )
    after, misses = applied(program(switched + TAIL.format(q="x", k="k", size=4), FREQUENCIES), RaiseRotary())
    assert "rope" not in after
    assert any("turns otherwise at some of 213 positions" in m.reason for m in misses), misses


def test_rounded_tables_stay_tables() -> None:
    """Cosines stored in float32 are not the cosines of a frequency; the probe ends where the tables end, at 40."""
    angles = torch.outer(torch.arange(40.0), torch.tensor([1.0, 0.009999999776482582])).repeat(1, 2)
    weights = ""
    for name, values in (("cos", angles.cos()), ("sin", angles.sin())):
        listed = ", ".join(str(float(v)) for v in values.flatten())
        weights += f"weight @{name} : f32[40, 4] = data([{listed}]) : f32[40, 4]\n"
    head = HALF.format(size=4).splitlines()[:3]
    tables = [f"  %{n} = slice(@{n}) {{axis=0, stop=S}} : f32[S, 4]" for n in ("cos", "sin")]
    text = "\n".join([*head, *tables]) + "\n" + rotate("q", "x") + turned("q", "x", "q")
    before = program(text + TAIL.format(q="x", k="k", size=4), weights)
    (record,) = run_passes(before, [RaiseRotary()]).records
    assert not record.changed
    assert "positions do not turn by their frequencies" in record.near_misses[0].reason


def matrices(turn: torch.Tensor, pairs: list[tuple[int, int]], size: int, count: int = 131) -> torch.Tensor:
    result = torch.eye(size, dtype=torch.float64).repeat(count, 1, 1)
    for p in range(count):
        for (a, b), f in zip(pairs, turn, strict=True):
            c, s = torch.cos(p * f), torch.sin(p * f)
            result[p, a, a], result[p, a, b], result[p, b, a], result[p, b, b] = c, -s, s, c
    return result


@pytest.mark.parametrize(("pairs", "interleaved"), [([(0, 2), (1, 3)], False), ([(0, 1), (2, 3)], True)])
def test_classify(pairs: list[tuple[int, int]], interleaved: bool) -> None:
    frequencies = torch.tensor([1.0, 0.01]).double()
    found = classify(matrices(frequencies, pairs, 4))
    assert isinstance(found, Rotation)
    assert found.interleaved is interleaved
    assert found.frequencies == tuple(float(f) for f in frequencies.float())
    assert found.scale == pytest.approx(1.0, abs=1e-12)


def test_classify_refuses_what_does_not_turn_evenly() -> None:
    frequencies = torch.tensor([1.0, 0.01]).double()
    wrong = matrices(frequencies, [(0, 2), (1, 3)], 4)
    wrong[100:] = matrices(frequencies * 0.5, [(0, 2), (1, 3)], 4)[100:]  # another regime past position 100
    assert "do not turn" in str(classify(wrong))
    assert "first ones" in str(classify(matrices(frequencies, [(2, 4), (3, 5)], 6)))
    assert "paired neither" in str(classify(matrices(frequencies, [(0, 3), (1, 2)], 4)))


def test_neighbours_turned_and_put_into_halves() -> None:
    """DeepSeek's spelling: pairs are neighbours before, halves after; that is another order of elements first."""
    pairs = """  %c = slice(%cos) {axis=1, stop=2} : f32[S, 2]
  %s = slice(%sin) {axis=1, stop=2} : f32[S, 2]
  %a = slice(%q) {axis=3, step=2} : f32[B, 2, S, 2]
  %b = slice(%q) {axis=3, start=1, step=2} : f32[B, 2, S, 2]
  %ac = mul(%a, %c) : f32[B, 2, S, 2]
  %bs = mul(%b, %s) : f32[B, 2, S, 2]
  %bc = mul(%b, %c) : f32[B, 2, S, 2]
  %as = mul(%a, %s) : f32[B, 2, S, 2]
  %first = sub(%ac, %bs) : f32[B, 2, S, 2]
  %second = add(%bc, %as) : f32[B, 2, S, 2]
  %x = concat(%first, %second) {axis=3} : f32[B, 2, S, 4]
"""
    before = program(HALF.format(size=4) + pairs + TAIL.format(q="x", k="k", size=4), FREQUENCIES)
    after, _ = applied(before, RaiseRotary())
    assert "= gather(%q, @rope.order) {axis=3}" in after
    assert "{interleaved=false}" in after
    assert "cos(" not in after


def test_a_part_of_the_head_that_is_turned_by_itself() -> None:
    """The last elements turn, the first do not: the part is recognized where the head is put together."""
    part = """  %q0 = slice(%q) {axis=3, start=0, stop=2} : f32[B, 2, S, 2]
  %q1 = slice(%q) {axis=3, start=2, stop=6} : f32[B, 2, S, 4]
"""
    joined = "  %whole = concat(%q0, %x) {axis=3} : f32[B, 2, S, 6]\n"
    text = HALF.format(size=6) + part + rotate("q1", "x") + turned("q1", "x", "q1") + joined
    after, _ = applied(program(text + TAIL.format(q="whole", k="k", size=6), FREQUENCIES), RaiseRotary())
    assert "= rope(%" in after
    assert "cos(" not in after


def test_a_shift_of_positions_is_no_rotation_from_the_start() -> None:
    text = (
        HALF.format(size=4)
        .replace("cast(%i)", "cast(%j)")
        .replace("  %p = ", "  %one = constant() {value=1, dtype=i64} : i64[]\n  %j = add(%i, %one) : i64[S]\n  %p = ")
    )
    text += rotate("q", "x") + turned("q", "x", "q")
    after, misses = applied(program(text + TAIL.format(q="x", k="k", size=4), FREQUENCIES), RaiseRotary())
    assert "rope" not in after
    assert misses


def test_pairs_on_an_axis_of_their_own() -> None:
    """Complex numbers as pairs: the path leads through five axes, and from a head that no one has split off."""
    pairs = """  %c = slice(%cos) {axis=1, stop=2} : f32[S, 2]
  %s = slice(%sin) {axis=1, stop=2} : f32[S, 2]
  %w0 = reshape(%one) {shape=[B, 1, S, 2, 2]} : f32[B, 1, S, 2, 2]
  %w1 = slice(%w0) {axis=4, stop=1} : f32[B, 1, S, 2, 1]
  %a = reshape(%w1) {shape=[B, 1, S, 2]} : f32[B, 1, S, 2]
  %w2 = slice(%w0) {axis=4, start=1, stop=2} : f32[B, 1, S, 2, 1]
  %b = reshape(%w2) {shape=[B, 1, S, 2]} : f32[B, 1, S, 2]
  %ac = mul(%a, %c) : f32[B, 1, S, 2]
  %bs = mul(%b, %s) : f32[B, 1, S, 2]
  %bc = mul(%b, %c) : f32[B, 1, S, 2]
  %as = mul(%a, %s) : f32[B, 1, S, 2]
  %real = sub(%ac, %bs) : f32[B, 1, S, 2]
  %imaginary = add(%bc, %as) : f32[B, 1, S, 2]
  %w4 = reshape(%real) {shape=[B, 1, S, 2, 1]} : f32[B, 1, S, 2, 1]
  %w3 = reshape(%imaginary) {shape=[B, 1, S, 2, 1]} : f32[B, 1, S, 2, 1]
  %both2 = concat(%w4, %w3) {axis=4} : f32[B, 1, S, 2, 2]
  %x = reshape(%both2) {shape=[B, 1, S, 4]} : f32[B, 1, S, 4]
  %y = attention(%q, %x, %x, %pos) {scale=0.5, mask="causal"} : f32[B, 2, S, 4]
  return y=%y
}"""
    text = HALF.format(size=4).replace("(%q:", "(%one: f32[B, S, 4], %q:") + pairs
    after, _ = applied(program(text, FREQUENCIES), RaiseRotary())
    assert "= split_heads(%one) {heads=1}" in after
    assert "{interleaved=true}" in after
    assert "cos(" not in after
