"""Gate and up out of one packed product, on IR text: when they become products of their own, and when they stay."""

from __future__ import annotations

import pytest

from graphwright.passes import parse_passes
from graphwright.passes.lowering.ort import to_dialect
from tests.passes.graphs import applied, body, program, random_weight
from tests.passes.lowering.ort.test_quantized_weights import weight

PASSES = parse_passes("ort-quantized,ort-separate-gates")
BIAS = random_weight("b", 4)
GATED = """(%x: f32[B, 32]) {
  %p = linear(%x, @w, bias=@b) : f32[B, 4]  at layer
  %g, %u = split(%p) {axis=1, sizes=[2, 2]} : f32[B, 2], f32[B, 2]  at layer
  %y = glu(%g, %u) {kind="silu"} : f32[B, 2]  at unit
  return y=%y
}"""


def test_gate_and_up_are_products_of_their_own_rows() -> None:
    text, misses = applied(program(GATED, weight(16) + BIAS), *PASSES)
    assert body(text) == ["ort.matmul_nbits", "ort.matmul_nbits", "glu"]
    for part in ("part0", "part1"):
        operands = f"@w.codes.{part}, @w.scales.{part}, zero_points=@w.zero_points.{part}, bias=@b.{part}"
        assert f"ort.matmul_nbits(%x, {operands})" in text
    assert not misses


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("return y=%y", "return y=%y, p=%p", "the product is read as a whole too"),
        (
            "{axis=1, sizes=[2, 2]} : f32[B, 2], f32[B, 2]",
            "{axis=0, sizes=[2, 2]} : f32[2, 4], f32[2, 4]",
            "the split is along axis 0, not along rows",
        ),
    ],
)
def test_products_that_are_read_otherwise_stay_whole(old: str, new: str, reason: str) -> None:
    text = GATED.replace(old, new)
    if "axis=0" in new:
        text = text.replace("f32[B, 2]  at unit", "f32[2, 4]  at unit").replace("[B, ", "[4, ")
    text, misses = applied(program(text, weight(16) + BIAS), *PASSES)
    assert body(text).count("ort.matmul_nbits") == 1
    assert [str(miss) for miss in misses] == [f"separate-gates at unit: {reason}"]


def test_parts_that_no_gated_unit_reads_stay_packed() -> None:
    text = GATED.replace('glu(%g, %u) {kind="silu"}', "add(%g, %u)")
    text, misses = applied(program(text, weight(16) + BIAS), *PASSES)
    assert body(text) == ["ort.matmul_nbits", "split", "add"]
    assert not misses


def test_only_the_dialect_of_the_cpu_separates_them() -> None:
    named = {name: [each.name for each in to_dialect(name)] for name in ("ort", "ort-cuda", "portable")}
    assert [name for name, passes in named.items() if "ort-separate-gates" in passes] == ["ort"]
