from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from graphwright.ir import IRTypeError, ops
from graphwright.ir.declare import OpDef
from graphwright.ir.text import parse_type
from tests.ir.evaluation import evaluate
from tests.tensors import Tolerance, listed, manual_seed

manual_seed(0)
X = torch.randn(2, 5, 16, dtype=torch.float64)
W, BIAS = torch.randn(16, dtype=torch.float64), torch.randn(16, dtype=torch.float64)
TIGHT = Tolerance(rtol=1e-13, atol=1e-14)


def test_rms_norm() -> None:
    torch.testing.assert_close(evaluate(ops.rms_norm, X, W, epsilon=1e-6), F.rms_norm(X, (16,), W, 1e-6), **TIGHT)


def test_layer_norm() -> None:
    centred = X - X.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    for weight, bias in ((None, None), (W, None), (None, BIAS), (W, BIAS)):
        wanted = scaled * (1 if weight is None else weight) + (0 if bias is None else bias)
        torch.testing.assert_close(evaluate(ops.layer_norm, X, weight, bias, epsilon=1e-5), wanted, **TIGHT)


WRITTEN_OUT: dict[str, Callable[[float], float]] = {
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + math.exp(-1.702 * x)),
    "relu": lambda x: max(x, 0.0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
}


@pytest.mark.parametrize("kind", WRITTEN_OUT)
def test_activations_and_gated_units(kind: str) -> None:
    wanted = torch.tensor([WRITTEN_OUT[kind](x) for x in listed(X.flatten())], dtype=torch.float64).reshape(X.shape)
    torch.testing.assert_close(evaluate(ops.activation, X, kind=kind), wanted, **TIGHT)
    torch.testing.assert_close(evaluate(ops.glu, X, X + 1, kind=kind), wanted * (X + 1), **TIGHT)


def test_softcap() -> None:
    found = evaluate(ops.softcap, torch.tensor([0.0, 1.0, 1e6, -1e6]), cap=30.0)
    assert listed(found) == pytest.approx([0.0, 30 * math.tanh(1 / 30), 30.0, -30.0], rel=1e-6)


def test_linear_and_matmul_by_einsum() -> None:
    weight = torch.randn(7, 16, dtype=torch.float64)
    bias = torch.randn(7, dtype=torch.float64)
    wanted = torch.einsum("bsi,oi->bso", X, weight)
    torch.testing.assert_close(evaluate(ops.linear, X, weight), wanted, **TIGHT)
    torch.testing.assert_close(evaluate(ops.linear, X, weight, bias), wanted + bias, **TIGHT)
    y = torch.randn(3, 1, 16, 4, dtype=torch.float64)
    torch.testing.assert_close(evaluate(ops.matmul, X, y), torch.einsum("bsi,ctik->cbsk", X, y), **TIGHT)


@pytest.mark.parametrize(
    ("op", "operands", "attributes", "problem"),
    [
        (ops.linear, ("f32[2, 3]", "f32[5, 4]"), {}, "3 and 4 differ"),
        (ops.linear, ("f32[]", "f32[5, 4]"), {}, "x must have an axis"),
        (ops.linear, ("f32[2, 4]", "f32[5, 4]", "f32[4]"), {}, "bias and rows of weight: 4 and 5 differ"),
        (ops.matmul, ("f32[2, 3]", "f32[2, 3]"), {}, "3 and 2 differ"),
        (ops.matmul, ("f32[3]", "f32[3, 2]"), {}, "two axes or more"),
        (ops.rms_norm, ("f32[2, 3]", "f16[3]"), {"epsilon": 0.1}, "x is f32 and weight f16"),
        (ops.layer_norm, ("i64[2, 3]",), {"epsilon": 0.1}, "x must be floating point"),
        (ops.glu, ("f32[2]", "f32[3]"), {"kind": "silu"}, "gate is .* and up"),
        (ops.activation, ("f32[2]",), {"kind": "swish"}, "attribute 'kind' is \"swish\", expected one of 'silu'"),
        (ops.softcap, ("f32[2]",), {}, "attribute 'cap' is missing"),
        (ops.softcap, ("f32[2]",), {"cap": 1.0, "top": 2}, "there is no attribute 'top'"),
        (ops.softcap, ("f32[2]", "f32[2]"), {"cap": 1.0}, "2 operands given, at most 1 expected"),
        (ops.linear, ("f32[2]",), {}, "operand 'weight' is missing"),
    ],
)
def test_what_does_not_fit(op: OpDef, operands: tuple[str, ...], attributes: dict[str, Any], problem: str) -> None:
    types = [parse_type(text) for text in operands]
    with pytest.raises(IRTypeError, match=f"^{op.name}: .*{problem}"):
        op.infer(op.pad(types), op.complete(attributes))
