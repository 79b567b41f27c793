"""Codes by given scales, against plain torch; caches of codes."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import DType, Graph, IRTypeError, StateType, ops, parse_program, print_program
from graphwright.ir.interpreter import run
from graphwright.ir.text import parse_type
from graphwright.ir.torch_types import torch_dtype
from tests.tensors import listed


def encoded(x: torch.Tensor, scale: torch.Tensor, to: DType) -> torch.Tensor:
    return ops.quantize_tensor.evaluate([x, scale], {"to": to})


def test_the_nearest_code_ties_to_even_and_the_ends_cut_off() -> None:
    x = torch.tensor([-100.0, -12.8, -12.75, 0.05, 0.15, 0.25, -0.05, 12.7, 100.0])
    # what ONNX Runtime's GroupQueryAttention stores for these
    expected = [-128, -128, -128, 0, 2, 2, 0, 127, 127]
    assert listed(encoded(x, torch.tensor(0.1), DType.I8)) == expected
    assert listed(encoded(torch.tensor([-9.0, -7.5, 6.5, 9.0]), torch.tensor(1.0), DType.I4)) == [-8, -8, 6, 7]
    assert listed(encoded(torch.tensor([-1.0, 2.5, 99.0]), torch.tensor(1.0), DType.U4)) == [0, 2, 15]


@pytest.mark.parametrize("shape", [(), (1, 2, 1, 8), (3, 2, 5, 1)])
@pytest.mark.parametrize("bits", [8, 4])
def test_codes_times_scales_are_within_half_a_step(shape: tuple[int, ...], bits: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, 5, 8, generator=generator)
    most = 2 ** (bits - 1) - 1
    axes = [i for i in range(4) if not shape or shape[i] == 1]
    scale = x.abs().amax(axes, keepdim=bool(shape)) / most
    codes = encoded(x, scale, DType(f"i{bits}"))
    assert codes.dtype is torch.int8
    assert torch.equal(codes, torch.clamp(torch.round(x * (1 / scale)), -most - 1, most).to(torch.int8))
    back = ops.dequantize_tensor.evaluate([codes, scale], {"dtype": DType.F32})
    assert torch.equal(back, codes.float() * scale)
    # half a step, and the rounding of the largest number's quotient
    assert ((back - x).abs() <= scale * (0.5 + most * 2.0**-22)).all()


@pytest.mark.parametrize(
    ("types", "to", "reason"),
    [
        (("i8[4]", "f32[]"), DType.I8, "x must be floating point"),
        (("f32[4]", "i32[]"), DType.I8, "scale must be floating point"),
        (("f32[4]", "f32[3]"), DType.I8, "do not broadcast"),
        (("f32[1]", "f32[3]"), DType.I8, "does not broadcast to"),
        (("f32[4]", "f32[]"), DType.I32, "there are no codes of i32"),
        (("f32[4]", "f32[]"), DType.F4E2M1, "there are no codes of f4e2m1 in a plain tensor"),
    ],
)
def test_what_cannot_be_rounded_is_refused(types: tuple[str, str], to: DType, reason: str) -> None:
    with pytest.raises(IRTypeError, match=reason):
        ops.quantize_tensor.infer([parse_type(t) for t in types], {"to": to})


def test_what_holds_no_codes_is_refused() -> None:
    for types, dtype, reason in (
        (("f32[4]", "f32[]"), DType.F32, "holds no codes"),
        (("i8[4]", "f32[]"), DType.I8, "is not floating point"),
    ):
        with pytest.raises(IRTypeError, match=reason):
            ops.dequantize_tensor.infer([parse_type(t) for t in types], {"dtype": dtype})


@pytest.mark.parametrize("dtype", ["i8", "i4", "u8", "u4"])
@pytest.mark.parametrize("layout", ["contiguous", "ring"])
def test_codes_are_appended_and_read_as_floats_are(layout: str, dtype: str) -> None:
    length = ", new_length=%n" if layout == "ring" else ""
    text = f"""
program "p"
graph g(%c: state<{layout} {dtype}[B, 2, 6, 4]>, %x: {dtype}[B, 2, S, 4], %p: i64[B], %n: i64[B]) {{
  %0 = kv_append(%c, %x, %p{length}) : state<{layout} {dtype}[B, 2, 6, 4]>
  %1 = kv_read(%0) : {dtype}[B, 2, 6, 4]
  return y=%1
}}
"""
    program = parse_program(text)
    assert print_program(parse_program(print_program(program))) == print_program(program)
    graph: Graph = program.graphs["g"]
    type = graph.inputs[0].type
    assert isinstance(type, StateType)
    assert type.bits.evaluate({"B": 3}) == 3 * 2 * 6 * 4 * DType(dtype).bits
    numbers = torch.randint(0, 8, (3, 2, 3, 4), generator=torch.Generator().manual_seed(0))
    places = {"p": torch.tensor([0, 2, 3]), "n": torch.tensor([3, 3, 2])}
    made = torch_dtype(DType(dtype))
    y = run(graph, {"c": torch.ones(3, 2, 6, 4, dtype=made), "x": numbers.to(made), **places})["y"]
    wide = parse_program(text.replace(dtype, "f32")).graphs["g"]
    expected = run(wide, {"c": torch.ones(3, 2, 6, 4), "x": numbers.float(), **places})["y"]
    assert y.dtype is made
    assert torch.equal(y.float(), expected)
