from __future__ import annotations

import math

import pytest

from graphwright.passes.raising.activations import FuseActivations, FuseGLU
from tests.passes.graphs import applied, body, program


def elementwise(lines: str, inputs: str = "%x: f64[B, S, 4]") -> str:
    return f"({inputs}) {{\n{lines}\n}}"


CONSTANTS = f"""
  %half = constant() {{value=0.5, dtype=f64}} : f64[]
  %one = constant() {{value=1.0, dtype=f64}} : f64[]
  %three = constant() {{value=3.0, dtype=f64}} : f64[]
  %root = constant() {{value={math.sqrt(2.0)!r}, dtype=f64}} : f64[]
  %c = constant() {{value=0.044715, dtype=f64}} : f64[]
  %k = constant() {{value={math.sqrt(2.0 / math.pi)!r}, dtype=f64}} : f64[]
  %q = constant() {{value=1.702, dtype=f64}} : f64[]
"""
T = "f64[B, S, 4]"

SPELLINGS = {
    "silu": f"%0 = sigmoid(%x) : {T}\n %1 = mul(%x, %0) : {T}\n return y=%1",
    "quick_gelu": f"%0 = mul(%x, %q) : {T}\n %1 = sigmoid(%0) : {T}\n %2 = mul(%x, %1) : {T}\n return y=%2",
    "gelu": f"""%0 = mul(%x, %half) : {T}
  %1 = div(%x, %root) : {T}
  %2 = erf(%1) : {T}
  %3 = add(%2, %one) : {T}
  %4 = mul(%0, %3) : {T}
  return y=%4""",
    "gelu_tanh": f"""%0 = mul(%half, %x) : {T}
  %1 = pow(%x, %three) : {T}
  %2 = mul(%c, %1) : {T}
  %3 = add(%x, %2) : {T}
  %4 = mul(%k, %3) : {T}
  %5 = tanh(%4) : {T}
  %6 = add(%one, %5) : {T}
  %7 = mul(%0, %6) : {T}
  return y=%7""",
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_spellings(kind: str) -> None:
    text, _ = applied(program(elementwise(CONSTANTS + SPELLINGS[kind])), FuseActivations())
    assert f'activation(%x) {{kind="{kind}"}}' in text
    assert body(text) == ["activation"]


def test_another_cubic_is_no_gelu() -> None:
    wrong = (CONSTANTS + SPELLINGS["gelu_tanh"]).replace("0.044715", "0.0447")
    text, misses = applied(program(elementwise(wrong)), FuseActivations())
    assert "activation" not in text
    assert any(m.rule == "fuse-gelu-tanh" and "0.044715" in m.reason for m in misses), misses


def test_softcap() -> None:
    lines = f"""  %cap = constant() {{value=30.0, dtype=f64}} : f64[]
  %again = constant() {{value=VALUE, dtype=f64}} : f64[]
  %0 = div(%x, %cap) : {T}
  %1 = tanh(%0) : {T}
  %2 = mul(%1, %again) : {T}
  return y=%2"""
    text, _ = applied(program(elementwise(lines.replace("VALUE", "30.0"))), FuseActivations())
    assert "softcap(%x) {cap=30.0}" in text
    text, misses = applied(program(elementwise(lines.replace("VALUE", "31.0"))), FuseActivations())
    assert "softcap" not in text
    assert any("not the same constant" in m.reason for m in misses)


def test_glu_in_either_order() -> None:
    for operands in ("%0, %u", "%u, %0"):
        lines = (
            f'%u = neg(%v) : {T}\n %0 = activation(%x) {{kind="silu"}} : {T}\n %1 = mul({operands}) : {T}\n return y=%1'
        )
        text, _ = applied(program(elementwise(lines, f"%x: {T}, %v: {T}")), FuseGLU())
        assert body(text) == ["neg", "glu"]


def test_a_constant_factor_is_no_gate() -> None:
    lines = f'%0 = activation(%x) {{kind="silu"}} : {T}\n %1 = mul(%0, %half) : {T}\n return y=%1'
    text, misses = applied(program(elementwise(CONSTANTS + lines)), FuseGLU())
    assert "glu" not in text
    assert any("up" in m.reason for m in misses)
