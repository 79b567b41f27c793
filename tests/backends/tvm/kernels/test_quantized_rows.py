"""Rows of packed tables, against the op that they implement."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphwright.backends.tvm.cpu import GENERIC, Cpu, host_cpu
from graphwright.backends.tvm.kernels.quantized_rows import quantized_rows
from graphwright.ir import ops
from graphwright.ir.dialects.cpu.packed_weights import packed_parts
from graphwright.ir.types import DType
from tests.backends.tvm.kernels.quantized import EPSILON, Example, exact_weight, magnitudes, packed_arrays
from tests.backends.tvm.kernels.standalone import compiled, run


@pytest.mark.parametrize("cpu", [host_cpu(), GENERIC], ids=["host", "generic"])
@pytest.mark.parametrize(
    "example",
    [
        Example(100, 172),
        Example(33, 100, DType.U4, 32, DType.F16),
        Example(40, 101, DType.I8, 0, DType.BF16),
        Example(33, 100, DType.U4, 32, DType.F16, minimum=True),
    ],
    ids=["i4", "u4", "i8", "minimums"],
)
def test_rows_are_those_of_the_table(cpu: Cpu, example: Example) -> None:
    table = example.expression()
    kernel = compiled(quantized_rows(cpu, tokens=None, table=packed_parts(table).layout), cpu)
    for ids in ([example.outer - 1], [0, 17, 5, 31, 32]):
        y = np.full((len(ids), example.inner), np.nan, np.float32)
        found = run(kernel, np.array(ids), *packed_arrays(table), y)[-1]
        expected = ops.quantized_embedding.evaluate([table.evaluate(), torch.tensor(ids)], {"dtype": DType.F32})
        if example.minimum:
            # The processor may round the product and the sum at once.
            size = magnitudes(table)[ids]
            assert (np.abs(found - exact_weight(table)[ids]) <= 2 * EPSILON * size).all()
        else:
            assert (found == expected.numpy()).all()
