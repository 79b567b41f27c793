"""Products on a GPU, interpreted, against the reference of `cuda.linear` in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graphwright.ir.dialects.cuda.linear import fused_linear
from tests.backends.cuda.kernels.splitting import check_met, meeting
from tests.emulator.interpreter import interpret, interpret_backwards

KERNELS = "graphwright.backends.cuda.kernels.linear"
ROUNDOFF = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24}


def numbers(generator: torch.Generator, *shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(*shape, generator=generator).to(dtype)


def expected(operands: dict[str, torch.Tensor | None], kind: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The result in float64, and a bound on what sums of the same terms' magnitudes can lose a unit of."""
    wide = [None if x is None else x.double() for x in operands.values()]
    attributes: dict[str, Any] = {"epsilon": 1e-5, "gated": kind is not None, "kind": kind or "silu"}
    return fused_linear.evaluate(wide, attributes)


CASES = [
    # rows, columns, inner, dtype, norm, bias, kind, residual, splits
    (1, 24, 64, torch.float16, True, False, None, False, 1),
    (1, 7, 50, torch.bfloat16, False, True, None, True, 2),
    (1, 20, 96, torch.bfloat16, True, True, "silu", False, 1),
    (1, 20, 150, torch.float16, True, True, None, True, 4),
    (3, 20, 96, torch.float16, True, False, "gelu_tanh", True, 1),
    (16, 33, 40, torch.bfloat16, False, True, None, True, 2),
    (5, 8, 130, torch.float32, True, True, "gelu", True, 1),
    (4, 9, 130, torch.float32, True, True, None, True, 4),
]


@pytest.mark.parametrize(("m", "n", "k", "dtype", "norm", "bias", "kind", "residual", "splits"), CASES)
def test_few_rows(
    m: int, n: int, k: int, dtype: torch.dtype, norm: bool, bias: bool, kind: str | None, residual: bool, splits: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    columns = n if kind is None else 2 * n
    operands = {
        "x": numbers(generator, m, k, dtype=dtype),
        "weight": numbers(generator, columns, k, dtype=dtype) / k**0.5,
        "bias": numbers(generator, columns, dtype=dtype) if bias else None,
        "gain": numbers(generator, k, dtype=dtype) if norm else None,
        "residual": numbers(generator, m, n, dtype=dtype) if residual else None,
    }
    tiles = -(-n // 8)
    of_one: dict[str, Any] = {} if m == 1 else {"M": m, "EMULATED": True}
    found: list[torch.Tensor] = []
    for run in (interpret, interpret_backwards)[: min(splits, 2)]:
        found.append(torch.full((m, n), float("nan"), dtype=dtype))
        memory = meeting(splits, n + tiles if m == 1 else m * n, tiles)
        run(
            f"{KERNELS}:{'one_row' if m == 1 else 'few_rows'}", tiles * splits, x=operands["x"], w=operands["weight"],
            bias=operands["bias"], gain=operands["gain"], residual=operands["residual"], **memory, y=found[-1],
            N=n, K=k, EPSILON=1e-5, KIND=kind, SPLITS=splits, BN=8, BK=32, PDL=False, **of_one,
        )  # fmt: skip
        check_met(memory)
    y = found[0]
    assert torch.equal(y, found[-1]), "whoever comes last, sums are the same"
    want = expected(operands, kind)
    assert isinstance(want, torch.Tensor)
    error = (y.double() - want).abs()
    assert (error <= 8 * ROUNDOFF[dtype] * (1 + want.abs())).all(), error.max()


@pytest.mark.parametrize(("kind", "dtype"), [(None, torch.float16), ("silu", torch.bfloat16)])
def test_many_rows(kind: str | None, dtype: torch.dtype) -> None:
    m, n, k = 70, 40, 72
    generator = torch.Generator().manual_seed(1)
    columns = n if kind is None else 2 * n
    operands: dict[str, torch.Tensor | None] = {
        "x": numbers(generator, m, k, dtype=dtype),
        "weight": numbers(generator, columns, k, dtype=dtype) / k**0.5,
        "bias": numbers(generator, columns, dtype=dtype),
        "gain": None,
        "residual": numbers(generator, m, n, dtype=dtype),
    }
    y = torch.full((m, n), float("nan"), dtype=dtype)
    interpret(
        f"{KERNELS}:many_rows", 3 * 2, x=operands["x"], w=operands["weight"], bias=operands["bias"],
        residual=operands["residual"], y=y, M=m, N=n, K=k, KIND=kind, BM=32, BN=32, BK=32, STRIPE=2, PDL=False,
        EMULATED=True,
    )  # fmt: skip
    want = expected(operands, kind)
    assert isinstance(want, torch.Tensor)
    error = (y.double() - want).abs()
    assert (error <= 8 * ROUNDOFF[dtype] * (1 + want.abs())).all(), error.max()
