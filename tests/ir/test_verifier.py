"""Every way to break a graph that the verifier promises to notice; its message quotes the op's printed line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from graphwright.ir import Program, StoredArray, VerificationError, Weight, parse_program, tensor, verify
from graphwright.ir.graph import Op, Value

TEXT = """program "p"

weight @w : f32[4] = data([1.0, 2.0, 3.0, 4.0]) : f32[4]

graph forward(%x: f32[S, 4]) {
  %0 = rms_norm(%x, @w) {epsilon=1e-05} : f32[S, 4]  at model.norm
  %1 = exp(%0) : f32[S, 4]  at model.exp
  %2 = add(%1, %0) : f32[S, 4]  at model.add
  return y=%2
}
"""


def broken(program: Program) -> tuple[Op, Op, Op]:
    norm, exp, add = program.graphs["forward"]
    return norm, exp, add


def use_before_definition(p: Program) -> None:
    _, exp, add = broken(p)
    p.graphs["forward"].set_operand(exp, 0, add.result)


def foreign_value(p: Program) -> None:
    _, exp, _ = broken(p)
    p.graphs["forward"].set_operand(exp, 0, Value(exp.result.type, name="stranger"))


def forgotten_use(p: Program) -> None:
    norm, exp, _ = broken(p)
    del norm.result.uses[exp, 0]


def stale_use(p: Program) -> None:
    norm, exp, _ = broken(p)
    exp.result.uses[norm, 0] = None


def use_by_an_erased_op(p: Program) -> None:
    _, _, add = broken(p)
    add.erased = True


def wrong_type(p: Program) -> None:
    _, exp, _ = broken(p)
    exp.result.type = tensor("f16", "S", 4)


def ill_typed(p: Program) -> None:
    _, exp, _ = broken(p)
    exp.inputs[0].type = tensor("i64", "S", 4)


def stray_attribute(p: Program) -> None:
    _, exp, _ = broken(p)
    exp.attributes["base"] = 2


def missing_attribute(p: Program) -> None:
    norm, _, _ = broken(p)
    del norm.attributes["epsilon"]


def attribute_of_another_kind(p: Program) -> None:
    norm, _, _ = broken(p)
    norm.attributes["epsilon"] = "small"


def too_few_operands(p: Program) -> None:
    _, _, add = broken(p)
    p.graphs["forward"].set_operand(add, 1, None)
    del add.operands[1]


def too_many_operands(p: Program) -> None:
    _, exp, _ = broken(p)
    exp.operands.append(exp.operands[0])


def absent_operand(p: Program) -> None:
    _, _, add = broken(p)
    p.graphs["forward"].set_operand(add, 1, None)


def too_many_results(p: Program) -> None:
    _, exp, _ = broken(p)
    exp.results.append(Value(exp.result.type, exp, 1))


def borrowed_result(p: Program) -> None:
    norm, exp, _ = broken(p)
    exp.result.owner = norm


BREAKAGES: list[tuple[Callable[[Program], None], str]] = [
    (use_before_definition, "line 3: operand 0 is not defined before it: %1 = exp(%2) : f32[S, 4]  at model.exp"),
    (foreign_value, "line 3: operand 0 is not defined before it: %1 = exp(<undefined>)"),
    (forgotten_use, "line 3: operand 0 does not list this use: %1 = exp(%0)"),
    (stale_use, "line 3: its result lists a use by <rms_norm at model.norm> that is none"),
    (use_by_an_erased_op, "lists a use by <add at model.add> that is none"),
    (wrong_type, "line 3: result 0 is recorded as f16[S, 4], its declaration gives f32[S, 4]"),
    (ill_typed, "line 2: result 0 is recorded as i64[S, 4], its declaration gives f32[S, 4]"),
    (stray_attribute, "line 3: exp at model.exp: there is no attribute 'base': %1 = exp(%0) {base=2}"),
    (missing_attribute, "line 2: rms_norm at model.norm: attribute 'epsilon' is missing: %0 = rms_norm(%x, @w) : "),
    (attribute_of_another_kind, "line 2: rms_norm at model.norm: attribute 'epsilon' is \"small\", expected float"),
    (too_few_operands, "line 4: it has 1 operands, 2 are declared: %2 = add(%1)"),
    (too_many_operands, "line 3: it has 2 operands, 1 are declared: %1 = exp(%0, %0)"),
    (absent_operand, "line 4: add at model.add: operand 'y' is missing: %2 = add(%1)"),
    (too_many_results, "line 3: it has 2 results, its declaration gives 1: %1, %2 = exp(%0)"),
    (borrowed_result, "line 3: result 0 belongs to <rms_norm at model.norm> as result 0: %1 = exp(%0)"),
]


@pytest.mark.parametrize(("break_it", "problem"), BREAKAGES, ids=lambda b: getattr(b, "__name__", ""))
def test_a_broken_op_is_quoted(break_it: Callable[[Program], None], problem: str) -> None:
    program = parse_program(TEXT)
    verify(program)
    break_it(program)
    with pytest.raises(VerificationError) as caught:
        verify(program)
    assert problem in str(caught.value)
    assert str(caught.value).startswith("graph 'forward', line ")
    assert "\n" not in str(caught.value)


def test_an_output_that_is_not_in_the_graph() -> None:
    program = parse_program(TEXT)
    program.graphs["forward"].outputs["z"] = Value(tensor("f32", 1), name="z")
    with pytest.raises(VerificationError, match="graph 'forward': output 'z' is not defined in it"):
        verify(program)


def test_a_weight_that_is_not_in_the_program() -> None:
    program = parse_program(TEXT)
    program.weights["w"] = Weight("w", program.weights["w"].expression)
    with pytest.raises(VerificationError, match="uses weight 'w', which the program lacks"):
        verify(program)


def test_a_weight_that_changed_its_type() -> None:
    program = parse_program(TEXT)
    program.weights["w"].expression = StoredArray.of(torch.ones(5))
    with pytest.raises(VerificationError, match=r"knows weight 'w' as f32\[4\], it is f32\[5\]"):
        verify(program)


def test_a_list_of_ops_that_lost_one() -> None:
    program = parse_program(TEXT)
    graph = program.graphs["forward"]
    graph._count += 1
    with pytest.raises(VerificationError, match="graph 'forward' counts 4 ops and holds 3"):
        verify(program)
