"""Rows of float tables: exact, whatever their element type, packed or not."""

from __future__ import annotations

import pytest
import torch

from graphwright.backends.tvm.cpu import AVX2, GENERIC, host_cpu
from graphwright.backends.tvm.kernels.bf16_pairs import PAIR
from graphwright.backends.tvm.kernels.float_embedding import embedding_rows
from tests.backends.tvm.kernels.floats import DTYPES, function, packed
from tests.backends.tvm.kernels.standalone import written
from tests.backends.tvm.kernels.test_bf16_linear import pairs

CPUS = {"generic": GENERIC, "avx2": AVX2, "host": host_cpu()}


@pytest.mark.parametrize("in_panels", [True, False])
@pytest.mark.parametrize("weight_dtype", DTYPES)
@pytest.mark.parametrize("name", CPUS)
def test_rows_are_exact(name: str, weight_dtype: str, in_panels: bool) -> None:
    rows, columns = 27, 172
    kernel = written(
        "embedding_of_rows",
        embedding_rows,
        CPUS[name],
        tokens=None,
        rows=rows,
        columns=columns,
        weight_dtype=weight_dtype,
        packed=in_panels,
    )
    table = torch.randn(rows, columns).to(DTYPES[weight_dtype])
    # The least number that is not zero, and those that are none.
    table[3, :4] = torch.tensor([torch.finfo(table.dtype).smallest_normal / 4, -0.0, torch.inf, -torch.inf])
    ids = torch.tensor([3, 26, 0, 16, 15, 3])
    y = torch.full((len(ids), columns), torch.nan)
    function(kernel, CPUS[name])(ids, packed(table) if in_panels else table, y)
    assert torch.equal(y, table[ids].float())


@pytest.mark.parametrize("columns", [130, 35])
def test_rows_of_a_table_in_pairs(columns: int) -> None:
    kernel = written(
        "embedding_of_pairs",
        embedding_rows,
        host_cpu(),
        tokens=None,
        rows=27,
        columns=columns,
        weight_dtype=PAIR,
        packed=True,
    )
    table, ids = torch.randn(27, columns), torch.tensor([3, 26, 0, 16])
    y = torch.full((len(ids), columns), torch.nan)
    function(kernel, host_cpu())(ids, pairs(table), y)
    assert torch.equal(y, table[ids].bfloat16().float())


def test_one_row() -> None:
    table, y = torch.randn(5, 128), torch.empty(1, 128)
    kernel = written("embedding_of_rows", embedding_rows, host_cpu(), tokens=1, rows=5, columns=128, packed=False)
    function(kernel, host_cpu())(torch.tensor([4]), table, y)
    assert torch.equal(y[0], table[4])
