"""Norms, alone and with a residual sum, and gated units, against the IR's reference in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from graphwright.backends.tvm.cpu import AVX2, GENERIC, host_cpu
from graphwright.backends.tvm.kernels.glu import glu, packed_glu
from graphwright.backends.tvm.kernels.norms import add_layer_norm, add_rms_norm, layer_norm, rms_norm
from graphwright.ir import ops
from tests.backends.tvm.kernels.standalone import call, written

SIZE = 50
EPSILON = 1e-5
# A norm of n numbers of magnitude 4: the mean has log2 n roundings or n / lanes of them, what follows a handful.
TOLERANCE = 4 * (SIZE + 8) * float(np.finfo(np.float32).eps)


def arrays(*shapes: tuple[int, ...]) -> list[Any]:
    random = np.random.default_rng(0)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def exact(op: Any, *operands: Any, **attributes: Any) -> Any:
    return op.evaluate([None if x is None else torch.as_tensor(x).double() for x in operands], attributes).numpy()


@pytest.mark.parametrize("cpu", [GENERIC, AVX2, host_cpu()], ids=lambda cpu: cpu.name)
def test_rms_norm(cpu: Any) -> None:
    x, other, weight = arrays((3, SIZE), (3, SIZE), (SIZE,))
    found = call(
        written("rms_norm", rms_norm, cpu, tokens=None, size=SIZE, epsilon=EPSILON), cpu, x, weight, np.zeros_like(x)
    )[-1]
    np.testing.assert_allclose(found, exact(ops.rms_norm, x, weight, epsilon=EPSILON), rtol=0, atol=TOLERANCE)
    *_, total, found = call(
        written("add_rms_norm", add_rms_norm, cpu, tokens=3, size=SIZE, epsilon=EPSILON), cpu, x, other, weight, x, x
    )
    np.testing.assert_array_equal(total, x + other)
    np.testing.assert_allclose(found, exact(ops.rms_norm, total, weight, epsilon=EPSILON), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(("weight", "bias"), [(True, True), (True, False), (False, True), (False, False)])
def test_layer_norm_with_what_it_has(weight: bool, bias: bool) -> None:
    cpu = host_cpu()
    x, other, scale, shift = arrays((3, SIZE), (3, SIZE), (SIZE,), (SIZE,))
    given = [*([scale] if weight else []), *([shift] if bias else [])]
    expected = (scale if weight else None, shift if bias else None)
    kernel = written("layer_norm", layer_norm, cpu, tokens=3, size=SIZE, epsilon=EPSILON, weight=weight, bias=bias)
    found = call(kernel, cpu, x, *given, np.zeros_like(x))[-1]
    np.testing.assert_allclose(found, exact(ops.layer_norm, x, *expected, epsilon=EPSILON), rtol=0, atol=TOLERANCE)
    kernel = written(
        "add_layer_norm", add_layer_norm, cpu, tokens=None, size=SIZE, epsilon=EPSILON, weight=weight, bias=bias
    )
    *_, total, found = call(kernel, cpu, x, other, *given, x, x)
    np.testing.assert_array_equal(total, x + other)
    np.testing.assert_allclose(found, exact(ops.layer_norm, total, *expected, epsilon=EPSILON), rtol=0, atol=TOLERANCE)


def test_gated_units_of_two_tensors_and_of_columns_of_one() -> None:
    cpu = host_cpu()
    gate, up, both = arrays((3, 100), (3, 100), (3, 230))
    both[:, 20:120], both[:, 125:225] = gate, up
    expected = exact(ops.glu, gate, up, kind="silu")
    kernel = written("glu", glu, cpu, tokens=None, size=100, kind="silu")
    np.testing.assert_allclose(call(kernel, cpu, gate, up, np.zeros_like(up))[-1], expected, rtol=0, atol=TOLERANCE)
    kernel = written(
        "gated_columns", packed_glu, cpu, tokens=3, size=100, kind="silu", columns=230, gate_column=20, up_column=125
    )
    np.testing.assert_allclose(call(kernel, cpu, both, np.zeros_like(up))[-1], expected, rtol=0, atol=TOLERANCE)
