"""Experts in codes on IR text, as each target takes them: as codes where its kernels read them, else as floats."""

from __future__ import annotations

import pytest
import torch

from graphwright.backends.cuda.library import LIBRARY
from graphwright.backends.tvm.library import CPU
from graphwright.passes import parse_passes
from graphwright.passes.lowering.cuda import cuda_lowering
from tests.passes.graphs import applied, body, program
from tests.tensors import listed

TARGETS = {"cpu": CPU, "cuda": LIBRARY.target}
MIXED = """(%x: f32[B, S, 32], %w: f32[B, S, 2]) {
  %v, %i = topk(%w) {k=2, axis=-1} : f32[B, S, 2], i64[B, S, 2]
  %y = moe_experts(%x, %i, %v, @gate_up, @down) {kind="silu", gated=true} : f32[B, S, 16]  at layer
  return y=%y
}"""


def codes(name: str, *shape: int, group: int = 8) -> str:
    """Text of a weight of random codes, with scales that are powers of two, so that their numbers are float32's."""
    generator = torch.Generator().manual_seed(len(name))

    def data(type: str, values: torch.Tensor) -> str:
        numbers = ", ".join(map(str, listed(values.flatten())))
        return f"data([{numbers}]) : {type}{list(values.shape)}"

    drawn = data("i4", torch.randint(-8, 8, shape, generator=generator))
    scales = data("f32", 2.0 ** -torch.randint(1, 5, (*shape[:-1], shape[-1] // group), generator=generator))
    return f"weight @{name} : q4<g{group}, sym>{list(shape)} = quantized({drawn}, {scales}) {{group={group}}}\n"


def weights(inner: int = 16) -> str:
    return codes("gate_up", 3, 2 * inner, 32) + codes("down", 3, 16, inner)


def lowered(name: str, text: str = MIXED, stacks: str = weights()) -> tuple[str, list[str]]:
    assert cuda_lowering(LIBRARY.target), "its passes are known by name"
    after, misses = applied(program(text, stacks), *parse_passes(name, TARGETS))
    return after, [str(miss) for miss in misses]


def test_the_cpu_reads_codes() -> None:
    text, misses = lowered("cpu-stored-weights")
    assert "moe_experts(%x, %1, %0, @gate_up, @down)" in text
    assert not misses


def test_the_cpu_reads_floats_where_its_kernels_do_not_take_the_codes() -> None:
    text, misses = lowered("cpu-stored-weights", stacks=weights(8))
    assert "moe_experts(%x, %1, %0, @gate_up.f32, @down.f32)" in text
    assert misses == ["codes in products at layer: cpu: experts of inner size 8, which is no multiple of 16"]


@pytest.mark.parametrize(
    ("name", "miss"),
    [
        ("cuda-linears", "cuda.linear: codes written as floats at layer: cuda takes no q4<g8, sym>[3, 32, 32]"),
        ("ort-quantized", "quantized-experts at layer: ort takes no q4<g8, sym>[3, 32, 32]"),
        ("ort-quantized{dialect=portable}", "quantized-experts at layer: portable takes no q4<g8, sym>[3, 32, 32]"),
    ],
)
def test_others_read_floats_and_say_why(name: str, miss: str) -> None:
    text, misses = lowered(name)
    assert "moe_experts(%x, %1, %0, @gate_up.f32, @down.f32)" in text
    assert misses == [f"{miss} in moe_experts"]


def test_narrow_activations_meet_the_numbers_of_codes_in_float32() -> None:
    narrow = MIXED.replace("%x: f32", "%x: bf16").replace(": f32[B, S, 16]", ": bf16[B, S, 16]")
    text, _ = lowered("ort-quantized", narrow)
    assert body(text) == ["topk", "cast", "moe_experts", "cast"]


def test_experts_of_floats_stay() -> None:
    text, misses = lowered(
        "ort-quantized",
        MIXED.replace("@gate_up, @down", "%g, %d").replace(
            "%w: f32[B, S, 2])", "%w: f32[B, S, 2], %g: f32[3, 32, 32], %d: f32[3, 16, 16])"
        ),
        "",
    )
    assert "moe_experts(%x, %1, %0, %g, %d)" in text
    assert not misses
