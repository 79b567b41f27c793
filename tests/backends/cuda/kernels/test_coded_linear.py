"""Products with weights of codes and rows of coded tables, interpreted, against the references in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from graphwright.backends.cuda.library.layouts import CODES, codes_in_a_byte, read_element
from graphwright.ir import ops
from graphwright.ir.dialects.cuda.linear import fused_linear
from graphwright.ir.types import DType, QuantizedType
from graphwright.ir.weights import Applied, StoredArray
from tests.backends.cuda.kernels.splitting import check_met, meeting
from tests.emulator.interpreter import interpret
from tests.ir.quantized_types import dequantized

KERNELS = "graphwright.backends.cuda.kernels.coded_linear"
ROUNDOFF = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24}
I4, U4, I8, U8 = DType.I4, DType.U4, DType.I8, DType.U8


@dataclass(frozen=True)
class Case:
    rows: int
    columns: int
    inner: int
    element: DType
    group: int = 32
    scale: DType = DType.F32
    minimum: bool = False
    tensor_scale: bool = False
    dtype: torch.dtype = torch.float16
    around: bool = False
    """Norm before, bias, gate of the kind silu and residual behind; no gate of a product that is split."""
    splits: int = 1


CASES = [
    Case(1, 24, 64, I4),
    Case(1, 9, 80, I4, 32, DType.F16, around=True),
    Case(1, 7, 75, U4, 16),
    Case(1, 7, 300, U4, 32, DType.F16, minimum=True, dtype=torch.bfloat16, around=True),
    Case(1, 20, 130, I8, 0, around=True),
    Case(1, 20, 130, U8, 128),
    Case(1, 5, 64, DType.F8E4M3, 0),
    Case(1, 5, 64, DType.F8E5M2, 64),
    Case(1, 5, 96, DType.F4E2M1, 32, DType.F8E8M0),
    Case(1, 5, 96, DType.F4E2M1, 16, DType.F8E4M3, tensor_scale=True),
    Case(1, 5, 96, DType.I3, 32),
    Case(3, 33, 75, I4, dtype=torch.float32),
    Case(16, 20, 96, U4, 32, DType.BF16, dtype=torch.bfloat16, around=True),
    Case(2, 20, 96, U4, 64, minimum=True, around=True),
    Case(1, 9, 300, U4, 32, around=True, splits=4),
    Case(3, 36, 300, I4, 64, around=True, splits=2),
    Case(70, 40, 72, I8, 0, around=True),
    Case(70, 40, 144, U4, 128, dtype=torch.float32),
    Case(40, 40, 64, DType.F8E4M3, 0, dtype=torch.bfloat16),
    Case(40, 8, 64, DType.U2, 32, DType.F16, dtype=torch.float32),
]


def weight(generator: torch.Generator, case: Case, rows: int) -> Applied:
    """A matrix that was rounded to the case's codes."""
    numbers = torch.randn(rows, case.inner, generator=generator) / case.inner**0.5
    attributes: dict[str, Any] = {
        "to": case.element,
        "group": case.group,
        "scale": case.scale,
        "tensor_scale": case.tensor_scale,
        "minimum": case.minimum,
    }
    return Applied.of(ops.round_to_nearest, (StoredArray.of(numbers),), attributes)


def described(made: Applied) -> dict[str, Any]:
    """The arrays and constants that kernels are given of a matrix."""
    type = made.type
    assert isinstance(type, QuantizedType)
    arrays = {name: array.evaluate() for name, array in CODES.pack(made).items()}
    if type.element in (DType.F8E4M3, DType.F8E5M2):
        arrays["codes"] = arrays["codes"].view(torch.uint8)
    return {
        **{name: arrays.get(name) for name in CODES.parts},
        "K": type.shape[1].constant,
        "ELEMENT": str(read_element(type)),
        "PER": codes_in_a_byte(type),
        "GROUP": type.group or 32,
        "GROUPS": type.scale_shape[1].constant,
    }


@pytest.mark.parametrize("case", CASES)
def test_products(case: Case) -> None:
    generator = torch.Generator().manual_seed(0)
    gated = case.around and case.splits == 1
    columns = 2 * case.columns if gated else case.columns
    made = weight(generator, case, columns)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(case.dtype)

    x = numbers(case.rows, case.inner)
    few = case.rows <= 16
    bias = numbers(columns) if case.around else None
    gain = numbers(case.inner) if case.around and few else None
    residual = numbers(case.rows, case.columns) if case.around else None
    y = torch.full((case.rows, case.columns), float("nan"), dtype=case.dtype)
    around: dict[str, Any] = {
        "bias": bias,
        "gain": gain,
        "residual": residual,
        "N": case.columns,
        "EPSILON": 1e-5,
        "KIND": "silu" if gated else None,
        "SPLITS": case.splits,
        "PDL": False,
    }
    depth = max(64, case.group)
    if case.rows == 1:
        tiles = -(-case.columns // 8)
        memory = meeting(case.splits, case.columns + tiles, tiles)
        interpret(
            f"{KERNELS}:one_row_of_codes", tiles * case.splits, x=x, y=y, **described(made), **around, **memory, BN=8,
            BK=depth,
        )  # fmt: skip
    else:
        height = 16 if few else 32
        tiles = -(-case.rows // height) * -(-case.columns // 32)
        memory = meeting(case.splits, case.rows * case.columns, tiles)
        interpret(
            f"{KERNELS}:rows_of_codes", tiles * case.splits, x=x, y=y, **described(made), **around, **memory,
            M=case.rows, BM=height, BN=32, BK=depth, STRIPE=2, EMULATED=True,
        )  # fmt: skip
    check_met(memory)
    matrix = made.evaluate()
    wide = [None if t is None else t.double() for t in (x, dequantized(matrix, torch.float64), bias, gain, residual)]
    attributes: dict[str, Any] = {"epsilon": 1e-5, "gated": gated, "kind": "silu"}
    want = fused_linear.evaluate(wide, attributes)
    assert isinstance(want, torch.Tensor)
    # As products with plain weights; numbers of the matrix are rounded once more where tiles are multiplied.
    error = (y.double() - want).abs()
    assert (error <= 8 * ROUNDOFF[case.dtype] * (1 + want.abs())).all(), error.max()


@pytest.mark.parametrize("case", CASES[:11])
def test_what_is_stored_is_the_weight(case: Case) -> None:
    made = weight(torch.Generator().manual_seed(0), case, 6)
    back = CODES.unpack(made.type, CODES.pack(made))
    want, found = made.evaluate(), back.evaluate()
    # A scale of all of it and those of groups are multiplied in float32.
    assert torch.equal(dequantized(want, torch.float32), dequantized(found, torch.float32))


@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[4], CASES[6]])
def test_rows_of_a_table(case: Case) -> None:
    made = weight(torch.Generator().manual_seed(1), replace(case, inner=75), 12)
    rows = torch.tensor([3, 11, 0, 12, -1])
    y = torch.zeros(5, 75, dtype=torch.float16)
    interpret(f"{KERNELS}:table_rows_of_codes", 5, rows=rows, y=y, COUNT=12, PADDED=128, PDL=False, **described(made))
    matrix = made.evaluate()
    want = dequantized(matrix, torch.float32)[rows[:3]]
    assert ((y[:3].float() - want).abs() <= 2.0**-11 * want.abs()).all()
    assert y[3:].isnan().all()
