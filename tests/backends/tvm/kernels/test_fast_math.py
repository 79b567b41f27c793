"""Exponentials and their kin against float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from graphwright.backends.tvm.cpu import AVX2, GENERIC, host_cpu
from graphwright.backends.tvm.kernels import fast_math
from graphwright.backends.tvm.kernels.activation import activation, elementwise
from graphwright.ir import ops
from tests.backends.tvm.kernels.standalone import call, written

SIZE = 64
RANGE = np.concatenate([np.linspace(-87, 88, 1 << 14), np.linspace(-6, 6, 1 << 14), np.geomspace(1e-30, 1, 1 << 12)])
SPECIAL = np.array([[0, np.inf, -np.inf, np.nan, 1e30, -1e30, -104, 89]], np.float32)


@pytest.mark.parametrize("cpu", [GENERIC, AVX2, host_cpu()], ids=lambda cpu: cpu.name)
@pytest.mark.parametrize(
    ("name", "exact", "units"),
    [("exp", torch.exp, 2), ("sigmoid", torch.sigmoid, 4), ("tanh", torch.tanh, 3), ("erf", torch.erf, 3)],
)
def test_functions_are_right_to_a_few_units_in_the_last_place(
    cpu: Any, name: str, exact: Callable[[torch.Tensor], torch.Tensor], units: int
) -> None:
    x = RANGE.astype(np.float32).reshape(-1, SIZE)
    kernel = written("activation", elementwise, cpu, getattr(fast_math, name), tokens=None, size=SIZE)
    (_, found) = call(kernel, cpu, x, np.zeros_like(x))
    expected = exact(torch.as_tensor(x).double()).numpy()
    unit = np.spacing(np.maximum(np.abs(expected), np.finfo(np.float32).tiny).astype(np.float32))
    assert (np.abs(found - expected) <= units * unit).all()


def test_ends_of_the_range_are_those_of_the_functions() -> None:
    cpu = host_cpu()
    found = {
        name: call(
            written("activation", elementwise, cpu, getattr(fast_math, name), tokens=1, size=8),
            cpu,
            SPECIAL,
            np.zeros_like(SPECIAL),
        )[1][0].tolist()
        for name in ("exp", "sigmoid", "tanh", "erf")
    }
    inf, nan = np.inf, np.nan
    expected = {
        "exp": [1, inf, 0, nan, inf, 0, 0, inf],
        "sigmoid": [0.5, 1, 0, nan, 1, 0, 0, 1],
        "tanh": [0, 1, -1, nan, 1, -1, -1, 1],
        "erf": [0, 1, -1, nan, 1, -1, -1, 1],
    }
    for name, values in expected.items():
        # e^-104 is the least denormal.
        np.testing.assert_allclose(found[name], values, rtol=0, atol=2.0**-149)


@pytest.mark.parametrize("kind", ["silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "sigmoid", "tanh"])
def test_activations_are_those_of_the_ir(kind: Any) -> None:
    cpu = host_cpu()
    x = 4 * np.random.default_rng(0).standard_normal((3, 100)).astype(np.float32)
    (_, found) = call(written("activation", activation, cpu, tokens=3, size=100, kind=kind), cpu, x, np.zeros_like(x))
    expected = ops.activation.evaluate([torch.as_tensor(x).double()], {"kind": kind}).numpy()
    # Each is a product of x and of a sum of numbers up to 1, each within a few units.
    np.testing.assert_allclose(found, expected, rtol=0, atol=8 * np.finfo(np.float32).eps * np.abs(x).max())
