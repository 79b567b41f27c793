"""Kernels as they are declared: which one takes an op, what may be turned, and what is refused in which words."""

from __future__ import annotations

import sys

import pytest

from graphwright.backends.kernel_library import Choice, Kernel, KernelLibrary, Problem
from graphwright.ir import DType, Op, UnsupportedError, UserError, ops
from graphwright.ir.cost import Cost, default_cost
from tests.ir.cases import Case

FLOATS = frozenset({DType.F32})
TILE = Choice("tile", (1, 2, 4), lambda problem: problem.device, "rows at a time")
AHEAD = Choice("ahead", (0, 64), 64, "bytes asked for", lambda problem, value: "no memory" if value else None)


def few_columns(op: Op) -> str | None:
    columns = op.result.type.shape[-1]
    return None if columns.constant == 4 else f"it has {columns} columns"


def twice(op: Op) -> Cost:
    return default_cost(op, op.result.type.elements * 2)


EXP = Kernel(ops.exp, FLOATS, few_columns, name="exp_4", body="math:exp", choices=(TILE,), price=twice)
WIDE = Kernel(ops.exp, FLOATS, name="exp", body="absent_module:exp", choices=(TILE, AHEAD))
LIBRARY = KernelLibrary("toy", 2, (EXP, WIDE))
PROBLEM = Problem(2)


def exp(shape: str) -> Op:
    return Case(ops.exp, (shape,)).build()


def test_the_first_kernel_that_takes_an_op_is_meant() -> None:
    assert LIBRARY.kernel_for(exp("f32[B, 4]")) is EXP
    assert LIBRARY.kernel_for(exp("f32[B, 5]")) is WIDE
    with pytest.raises(UnsupportedError, match=r"^toy takes no f64 in exp$"):
        LIBRARY.kernel_for(exp("f64[B, 4]"))
    narrow = KernelLibrary("toy", 2, (EXP,))
    assert narrow.target.refusal(exp("f32[B, 5]")) == "toy: it has 5 columns"
    assert narrow.target.accepts(ops.exp)
    assert not narrow.target.accepts(ops.log)


def test_a_kernel_costs_what_its_op_does_or_what_it_says() -> None:
    op = exp("f32[B, 4]")
    assert EXP.cost(op).flops == 2 * op.definition.price(op).flops
    assert WIDE.cost(op) == op.definition.price(op)


def test_bodies_are_looked_up_when_they_are_asked_for() -> None:
    assert EXP.load()(0) == 1
    assert "absent_module" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        WIDE.load()


def test_choices_have_defaults_that_may_depend_on_the_problem() -> None:
    assert LIBRARY.settings(EXP, PROBLEM) == {"tile": 2}
    assert LIBRARY.settings(EXP, Problem(4)) == {"tile": 4}
    assert LIBRARY.settings(WIDE, PROBLEM, {"ahead": 0}) == {"tile": 2, "ahead": 0}
    problem = Problem.of(2, exp("f32[B, 4]"))
    assert [str(type) for type in problem.operands] == ["f32[B, 4]"]
    assert problem.attributes == {}


@pytest.mark.parametrize(
    ("kernel", "chosen", "message"),
    [
        (EXP, {"tiles": 1}, "kernel exp_4 has no choice 'tiles': did you mean 'tile'?"),
        (EXP, {"streams": 1}, "kernel exp_4 has no choice 'streams'; there is tile"),
        (EXP, {"tile": 3}, "kernel exp_4: choice 'tile' is 3; it must be one of 1, 2, 4"),
        (WIDE, {"ahead": 64}, "kernel exp: choice 'ahead' is 64: no memory"),
    ],
)
def test_what_cannot_be_chosen_is_refused(kernel: Kernel, chosen: dict[str, int], message: str) -> None:
    with pytest.raises(UserError) as caught:
        LIBRARY.settings(kernel, PROBLEM, chosen)
    assert str(caught.value) == message


def test_kernels_are_found_by_name() -> None:
    assert LIBRARY.kernel("exp_4") is EXP
    with pytest.raises(UserError, match=r"^library toy has no kernel 'exp_8': did you mean 'exp_4'\?$"):
        LIBRARY.kernel("exp_8")
