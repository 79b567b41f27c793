"""The scan of a program's weights for NaN and infinity."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from graphwright.frontend import check_finite, finite
from graphwright.ir import Program, StoredArray, StoredFile, WeightError, ops, tensor
from graphwright.ir.weights import Applied
from tests.tensors import save_file

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]


def program_of(**tensors: torch.Tensor) -> Program:
    program = Program()
    for name, value in tensors.items():
        program.add_weight(name, StoredArray.of(value))
    return program


@pytest.mark.parametrize("dtype", FLOATS)
def test_finite_weights_pass(dtype: torch.dtype) -> None:
    check_finite(program_of(a=torch.randn(50, 7).to(dtype), empty=torch.zeros(0, dtype=dtype), b=torch.ones(3)))


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_is_found(dtype: torch.dtype) -> None:
    bad = torch.randn(50, 7).to(dtype)
    bad[31, 4] = math.nan
    with pytest.raises(WeightError, match=r"^weight 'b' is not finite: element \[31, 4\] is nan$"):
        check_finite(program_of(a=torch.ones(3), b=bad))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("place", [0, 9, 10, 24])
def test_every_chunk_is_looked_at(monkeypatch: pytest.MonkeyPatch, place: int, value: float) -> None:
    monkeypatch.setattr(finite, "CHUNK", 10)
    bad = torch.ones(5, 5)
    bad.view(-1)[place] = value
    with pytest.raises(WeightError, match=rf"element \[{place // 5}, {place % 5}\] is {value}"):
        check_finite(program_of(a=bad))


def test_a_mask_may_hold_minus_infinity() -> None:
    check_finite(program_of(mask=torch.full((8, 8), -math.inf).triu(1)))


def test_a_mask_holds_nothing_else() -> None:
    mask = torch.full((8, 8), -math.inf).triu(1)
    mask[7, 0] = 0.5
    with pytest.raises(WeightError, match=r"element \[0, 1\] is -inf"):
        check_finite(program_of(mask=mask))


def test_integers_are_always_finite() -> None:
    check_finite(program_of(a=torch.arange(5), b=torch.tensor([True])))


def test_files_are_read_through_their_transforms(tmp_path: Path) -> None:
    bad = torch.zeros(3, 4)
    bad[2, 1] = math.nan
    path = str(tmp_path / "model.safetensors")
    save_file({"w": bad}, path)
    program = Program()
    stored = StoredFile(path, "w", tensor("f32", 3, 4))
    program.add_weight("w.transposed", Applied.of(ops.transpose, (stored,), {"permutation": (1, 0)}))
    with pytest.raises(
        WeightError, match=r"model\.safetensors: weight 'w\.transposed' is not finite: element \[2, 1\]"
    ):
        check_finite(program)
