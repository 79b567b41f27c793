"""Mixtures of experts on a GPU, interpreted, against the reference in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from graphwright.ir import Builder, Graph, Program, ops, tensor
from graphwright.ir.types import DType
from tests.backends.cuda.steps import Steps

UNIT = {DType.F32: 2.0**-24, DType.F16: 2.0**-11, DType.BF16: 2.0**-8}
FORMS: dict[str, dict[str, Any]] = {
    "gated": {"kind": "silu", "gated": True},
    "gpt-oss": {"kind": "silu", "gated": True, "alpha": 1.702, "limit": 0.7, "up_offset": 1.0},
    "plain": {"kind": "gelu", "gated": False},
}


@pytest.mark.parametrize("tokens", [3, 40])
@pytest.mark.parametrize(
    ("form", "dtype", "biases"),
    [("gated", DType.BF16, False), ("gpt-oss", DType.F32, True), ("plain", DType.F16, True)],
)
def test_equals_the_reference(form: str, dtype: DType, biases: bool, tokens: int) -> None:
    """Few tokens of a known number, and many of an unknown one; an expert without tokens, one with most of them."""
    size, inner, outer, experts, chosen = 20, 12, 28, 5, 2
    attributes = {"alpha": 1.0, "limit": math.inf, "up_offset": 0.0, **FORMS[form]}
    height = inner * (2 if attributes["gated"] else 1)
    g = Program("test").add_graph(Graph("forward"))
    count = tokens if tokens < 16 else "T"
    shapes: dict[str, tuple[Any, ...]] = {
        "x": (count, size),
        "indices": (count, chosen),
        "weights": (count, chosen),
        "gate_up": (experts, height, size),
        "down": (experts, outer, inner),
    }
    if biases:
        shapes |= {"gate_up_bias": (experts, height), "down_bias": (experts, outer)}
    values = {n: g.add_input(n, tensor("i64" if n == "indices" else str(dtype), *s)) for n, s in shapes.items()}
    g.outputs = {"y": Builder(g)(ops.moe_experts, *values.values(), **attributes)}
    steps = Steps([g])
    assert not steps.tail("forward")
    generator = torch.Generator().manual_seed(0)
    given = {
        n: torch.randn(*(tokens if d == "T" else d for d in s), generator=generator).to(
            {DType.F32: torch.float32, DType.F16: torch.float16, DType.BF16: torch.bfloat16}[dtype]
        )
        for n, s in shapes.items()
    }
    given["indices"] = torch.tensor([0, 1, 4])[torch.randint(0, 3, (tokens, chosen), generator=generator)]
    given["indices"][1:, 0] = 4
    found = steps.run("forward", given)["y"].double()
    wide = [v if n == "indices" else v.double() for n, v in given.items()] + [None] * (0 if biases else 2)
    want = ops.moe_experts.evaluate(wide, attributes)
    # Hidden numbers and the result are rounded to their type; sums of 20 and of 12 terms add to that in float32.
    magnitude = ops.moe_experts.evaluate(
        [v if v is None or v.dtype is torch.int64 else v.abs() for v in wide], attributes
    )
    assert ((found - want).abs() <= 8 * UNIT[dtype] * magnitude.abs()).all()
