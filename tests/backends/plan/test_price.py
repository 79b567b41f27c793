"""The price of a plan, against sums done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graphwright.backends.kernel_library import Kernel, KernelLibrary
from graphwright.backends.plan import parse_plan
from graphwright.backends.plan.price import OpPrice, plan_price
from graphwright.ir import Dim, DType, Op, UserError, ops, parse_program
from graphwright.ir.cost import Cost
from graphwright.ir.machines import Machine
from graphwright.ir.pricing import declared_cost
from tests.backends.plan.making import graph, whole_plan

MACHINE = Machine("slow", {DType.F32: 1000.0}, 100.0, 2.0, "made up")

PROGRAM = """program "p"
weight @w : q8<g4, sym>[8, 4] = round_to_nearest(file("none", "w") : f32[8, 4]) {to=i8, group=4}
graph g(%x: f32[B, 4]) {
  %0 = linear(%x, @w) : f32[B, 8]
  %1 = reshape(%0) {shape=[B, 2, 4]} : f32[B, 2, 4]
  %2 = neg(%1) : f32[B, 2, 4]
  %3 = neg(%2) : f32[B, 2, 4]
  return y=%3
}
"""
TEXT = """plan g(B) {
  define blocks = floordiv(B+3, 4)
  given x : f32[B, 4] of %x
  given y : f32[B, 2, 4]
  stored w : i8[8, 4] at 0 of @w
  stored w.scales : f32[8] at 64 of @w
  slot 0 : 32*B
  slot 1 : 400*blocks
  slot 2 : 32*B
  temporary t0 : f32[B, 8] in 0
  temporary scratch : f32[100, blocks] in 1
  temporary t1 : f32[B, 2, 4] in 2

  %0 = linear(%x, @w) : f32[B, 8]
    in t0
    stage linear_0(r x, w scratch) over blocks
    wait
    stage linear_1(rw scratch, r w, r w.scales, w t0) over B
  %1 = reshape(%0) {shape=[B, 2, 4]} : f32[B, 2, 4]
    in t0
  %2 = neg(%1) : f32[B, 2, 4]
    in t1
    wait
    stage neg_0(r t0, w t1) over B
  %3 = neg(%2) : f32[B, 2, 4]
    in y
    wait
    stage neg_0(r t1, w y) over B
}
"""


def test_a_plan_costs_what_its_ops_do_and_its_waits() -> None:
    plan = parse_plan(TEXT, parse_program(PROGRAM))
    rows = 5
    linear_flops, linear_bytes = 2 * rows * 4 * 8, rows * 4 * 4 + (8 * 4 + 8 * 4) + rows * 8 * 4
    neg_flops, neg_bytes = rows * 8, 2 * rows * 8 * 4
    # scratch is written once, then read and written
    linear = OpPrice("linear", 1, 2, 1, linear_flops, linear_bytes, 3 * 400 * 2, linear_bytes / 100, "memory")
    neg = OpPrice("neg", 2, 2, 2, 2 * neg_flops, 2 * neg_bytes, 0, 2 * neg_bytes / 100, "memory")
    price = plan_price(plan, {"B": rows}, MACHINE)
    assert price.ops == (neg, linear)
    assert price.workspace_bytes == 192 + 832 + 192
    assert (price.launches, price.stages, price.waits) == (3, 4, 3)
    assert price.wait_seconds == 3 * 2.0
    assert price.seconds == pytest.approx((linear_bytes + 2 * neg_bytes) / 100 + 6, rel=1e-12)


def test_without_a_machine_there_are_no_times() -> None:
    price = plan_price(parse_plan(TEXT, parse_program(PROGRAM)), {"B": 1})
    assert (price.seconds, price.wait_seconds) == (None, None)
    assert {each.op: (each.seconds, each.limit) for each in price.ops} == {"linear": (None, None), "neg": (None, None)}


def test_a_kernel_may_declare_another_cost() -> None:
    """The second product reads its weight twice; a launch without a kernel of the library costs what its op does."""

    def twice(op: Op) -> Cost:
        cost = declared_cost(op)
        x, weight = cost.reads
        assert isinstance(weight, Dim)
        return replace(cost, reads=(x, weight * 2))

    every = frozenset(DType)
    kernels = Kernel(ops.linear, every, name="gemv"), Kernel(ops.linear, every, name="gemm", price=twice)
    library = KernelLibrary("slow", None, kernels)
    program = parse_program(PROGRAM)
    plain = parse_plan(TEXT.replace("    stage linear_0", "    by gemv\n    stage linear_0"), program)
    plan = parse_plan(TEXT.replace("    stage linear_0", "    by gemm\n    stage linear_0"), program)
    assert plan_price(plain, {"B": 1}, library=library) == plan_price(plain, {"B": 1})
    costs = [{p.op: p.bytes for p in plan_price(plan, {"B": 1}, library=lib).ops} for lib in (None, library)]
    assert costs[1]["linear"] - costs[0]["linear"] == 8 * 4 + 8 * 4
    assert costs[1]["neg"] == costs[0]["neg"]


def test_of_ops_that_are_alike_each_costs_what_its_own_kernel_does() -> None:
    def free_of_flops(op: Op) -> Cost:
        return replace(declared_cost(op), flops=Dim.of(0))

    library = KernelLibrary("fast", None, (Kernel(ops.neg, frozenset(DType), name="none", price=free_of_flops),))
    text = TEXT.replace("    wait\n    stage neg_0(r t1", "    by none\n    wait\n    stage neg_0(r t1")
    plan = parse_plan(text, parse_program(PROGRAM))
    flops = [{p.op: p.flops for p in plan_price(plan, {"B": 1}, library=lib).ops}["neg"] for lib in (None, library)]
    assert flops == [2 * 8, 8]


def test_a_size_must_be_known() -> None:
    with pytest.raises(UserError, match="bind B"):
        plan_price(parse_plan(TEXT, parse_program(PROGRAM)), {}, MACHINE)


def test_launches_that_cost_nothing_are_counted() -> None:
    """A constant is free in a graph; a plan may launch it."""
    g = graph("", "%0 = constant() {value=1.0, dtype=f32, shape=[2]} : f32[2]", outputs="y=%0")
    assert plan_price(whole_plan(g), {}, MACHINE).ops == (OpPrice("constant", 1, 1, 0, 0, 0, 0, 0.0, None),)
