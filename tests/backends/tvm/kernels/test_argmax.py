"""The greedy token, as numpy has it."""

from __future__ import annotations

import numpy as np
import pytest

from graphwright.backends.tvm.cpu import GENERIC, host_cpu
from graphwright.backends.tvm.kernels.argmax import argmax
from tests.backends.tvm.kernels.standalone import call


@pytest.mark.parametrize("size", [3, 1531])
@pytest.mark.parametrize("cpu", [GENERIC, host_cpu()], ids=lambda cpu: cpu.name)
def test_the_first_of_the_largest_is_taken(cpu, size: int) -> None:
    random = np.random.default_rng(0)
    logits = random.integers(-5, 5, (12, size)).astype(np.float32)
    logits[0] = -np.inf
    logits[1, size // 2] = np.nan
    logits[2] = random.choice([0.0, -0.0], size)
    logits[3, -1] = 9
    (_, token) = call(argmax(cpu, size=size), cpu, logits, np.zeros(12, np.int64))
    np.testing.assert_array_equal(token, logits.argmax(1))
