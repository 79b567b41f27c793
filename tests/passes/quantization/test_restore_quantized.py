"""What becomes codes again: cut, packed and widened weights; and what does not."""

from __future__ import annotations

import torch

from graphwright.ir import Program, StoredArray, parse_program, print_graph, run
from graphwright.passes import parse_passes, run_passes
from tests.tensors import listed

CODES = "unpack_bits(data([{packed}]) : u8[{rows}, 4]) {{to=u4, length=8}}"


def weight(seed: int, rows: int, zeros: int = 8, minimum: bool = False) -> str:
    """A weight u4 [rows, 8] in groups of 4 as the text of an expression of floats. With `minimum` the numbers that are
    zero points otherwise are minimums."""
    generator = torch.Generator().manual_seed(seed)
    packed = ", ".join(map(str, listed(torch.randint(0, 256, (rows * 4,), generator=generator))))
    scales = ", ".join(map(str, listed(torch.randint(1, 9, (rows * 2,), generator=generator) / 64)))
    points = ", ".join([str(zeros)] * rows * 2)
    scale = f"data([{scales}]) : f16[{rows}, 2]"
    point = f"cast(data([{points}]) : u8[{rows}, 2]) {{dtype={'f16' if minimum else 'u4'}}}"
    offsets = f"none, none, {point}" if minimum else point
    codes = CODES.format(packed=packed, rows=rows)
    return f"dequantize(quantized({codes}, {scale}, {offsets}) {{group=4, axis=-1}}) {{dtype=f32}}"


def layer(expression: str, type: str, bias: str = "") -> Program:
    shape = type.removeprefix("f32[").split(",")[0]
    stored = (
        f"weight @b : f32[{shape}] = data([{', '.join(map(str, range(int(shape))))}]) : f32[{shape}]" if bias else ""
    )
    return parse_program(
        f'program "p"\nweight @w : {type} = {expression}\n{stored}\n'
        f"graph forward(%x: f32[B, 8]) {{ %0 = linear(%x, @w{bias}) : f32[B, {shape}]  at model.proj return y=%0 }}"
    )


def restored(before: Program) -> tuple[str, list[str]]:
    """The text after the pass, and its near misses; what is computed stays the same to the bit."""
    after = before.clone()
    (record,) = run_passes(after, parse_passes("restore-quantized")).records
    x = {"x": torch.randn(3, 8, generator=torch.Generator().manual_seed(0))}
    assert torch.equal(*(run(p.graphs["forward"], x, "float64")["y"] for p in (before, after)))
    text = print_graph(after.graphs["forward"])
    types = ", ".join(str(w.type) for w in after.weights.values())
    return f"{text}\n{types}", [str(m) for m in record.near_misses]


def test_packed_rows_are_packed_codes() -> None:
    text, misses = restored(layer(f"concat({weight(0, 6)}, {weight(1, 2)}) {{axis=0}}", "f32[8, 8]"))
    assert text.count("linear(") == 1
    assert "q4<g4, sym, scale=f16>[8, 8]" in text
    assert not misses


def test_cut_rows_are_cut_codes() -> None:
    text, _ = restored(layer(f"slice({weight(0, 6)}) {{axis=0, start=1, stop=4, step=1}}", "f32[3, 8]"))
    assert "q4<g4, sym, scale=f16>[3, 8]" in text


def test_parts_that_differ_come_apart_with_their_biases() -> None:
    floats = "data([" + ", ".join(["0.5"] * 8) + "]) : f32[1, 8]"
    parts = f"{weight(0, 6)}, {floats}, {weight(1, 2)}"
    text, _ = restored(layer(f"concat({parts}) {{axis=0}}", "f32[9, 8]", ", bias=@b"))
    assert text.count("linear(") == 3
    assert text.count("concat(") == 1
    assert text.count("q4<g4, sym, scale=f16>") == 2


def test_zero_points_that_are_not_the_middle_stay() -> None:
    text, _ = restored(layer(weight(0, 6, zeros=7), "f32[6, 8]"))
    assert "q4<g4, asym, scale=f16>[6, 8]" in text


def test_minimums_are_cut_and_packed_as_scales_are() -> None:
    cut = f"slice({weight(1, 6, minimum=True)}) {{axis=0, start=1, stop=3, step=1}}"
    text, misses = restored(layer(f"concat({weight(0, 6, minimum=True)}, {cut}) {{axis=0}}", "f32[8, 8]"))
    assert "q4<g4, min, scale=f16>[8, 8]" in text
    assert text.count("linear(") == 1
    assert not misses
    # Rows with minimums and rows with zero points are two weights.
    text, _ = restored(layer(f"concat({weight(0, 6, minimum=True)}, {weight(1, 2, zeros=7)}) {{axis=0}}", "f32[8, 8]"))
    assert text.count("linear(") == 2


def test_what_is_done_to_the_numbers_stays_floats() -> None:
    text, misses = restored(layer(f"neg({weight(0, 6)})", "f32[6, 8]"))
    assert "q4" not in text
    assert misses == [
        "restore-quantized at model.proj: weight 'w' stays as floats: neg stands between it and its codes"
    ]


def test_other_ops_take_floats() -> None:
    before = layer(weight(0, 8), "f32[8, 8]")
    graph = before.graphs["forward"]
    (op,) = graph
    text = print_graph(graph).replace("linear(%x, @w)", "matmul(%x, @w)")
    program = parse_program(f'program "p"\nweight @w : f32[8, 8] = {weight(0, 8)}\n{text}')
    _, misses = restored(program)
    assert misses == ["restore-quantized at model.proj: matmul takes weight 'w' as floats"]
    assert op.name == "linear"


def test_floats_are_left_alone() -> None:
    program = layer("data([" + ", ".join(["0.5"] * 48) + "]) : f32[6, 8]", "f32[6, 8]")
    assert isinstance(program.weights["w"].expression, StoredArray)
    _, misses = restored(program)
    assert not misses
