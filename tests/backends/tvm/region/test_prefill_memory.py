"""What a prefill of many tokens needs of memory: nothing that grows with tokens times tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graphwright.backends.plan import Plan
from graphwright.backends.tvm.cpu import GENERIC
from graphwright.backends.tvm.library import CPU
from graphwright.backends.tvm.lower import plan_graphs
from graphwright.compiling.lowering import lowered
from graphwright.ir import Builder, Graph, Program, ops, tensor
from graphwright.passes.lowering.cpu import cpu_lowering
from tests.backends.models import MODELS, decoder


def prefill_plan(name: str) -> Plan:
    program, _ = lowered(decoder(replace(MODELS[name], layers=1)), cpu_lowering(CPU))
    return plan_graphs([program.graphs["prefill"]], GENERIC).plans["prefill"]


def squares(plan: Plan) -> list[str]:
    """The buffers of its workspace that become more than twice as large with twice the tokens and keys."""
    assert plan.slot_of

    def sizes(tokens: int) -> list[int]:
        bindings = plan.bindings(dict.fromkeys(plan.graph.symbols, tokens) | {"B": 1})
        return [buffer.type.bits.evaluate(bindings) for buffer in plan.slot_of or {}]

    return [b.name for b, once, twice in zip(plan.slot_of, sizes(4096), sizes(8192), strict=True) if twice > 2 * once]


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_no_buffer_of_a_prefill_is_tokens_by_tokens(name: str) -> None:
    assert not squares(prefill_plan(name))


def test_what_is_tokens_by_tokens_is_found() -> None:
    g = Program("test").add_graph(Graph("step"))
    b = Builder(g)
    g.outputs = {"y": b(ops.neg, b(ops.exp, g.add_input("x", tensor("f32", "B", "S", "S"))))}
    assert squares(plan_graphs([g], GENERIC).plans["step"])
