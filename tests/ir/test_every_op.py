"""Properties that hold of every declared op: what it promises about shapes, axes, cost and bad operands."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphwright.ir import Dim, DType, IRTypeError, QuantizedType, StateType, TensorType, UserError, ops
from graphwright.ir.attributes import substitute
from graphwright.ir.declare import REGISTRY, AttributeSpec, OpDef
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.program import substitute_type
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.rounding import quantize
from graphwright.ir.text import parse_type
from graphwright.ir.torch_types import torch_dtype
from tests.ir.cases import CASES, Case, random
from tests.ir.quantized_types import dequantized

BINDINGS = {"B": 2, "S": 3, "P": 5}


# A backend's own ops, such as `ort.skip_rms_norm`, are tested with the backend.
CORE = [definition for name, definition in REGISTRY.items() if "." not in name]


def test_every_op_has_a_case_here() -> None:
    missing = {op.name for op in CORE} - {case.op.name for case in CASES}
    assert not missing, f"add {sorted(missing)} to tests/ir/cases.py"


def test_every_op_is_on_the_face_documented_and_has_a_reference() -> None:
    for definition in CORE:
        assert getattr(ops, definition.name) is definition
        assert definition.doc.endswith((".", ")"))
        assert definition.has_reference


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=12, deadline=None)
@given(b=st.integers(1, 4), s=st.integers(1, 4), p=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_inferred_types_are_those_of_the_reference_results(case: Case, b: int, s: int, p: int, seed: int) -> None:
    bindings = {"B": b, "S": s, "P": p}
    op = case.build()
    operands = case.sample(bindings, torch.Generator().manual_seed(seed))
    for precision in ("reference", "float64"):
        results = apply_reference(
            op.definition, operands, op.attributes, [v.type for v in op.results], bindings, precision
        )
        for value, result in zip(op.results, results, strict=True):
            assert list(result.shape) == [d.evaluate(bindings) for d in value.type.shape]
            if isinstance(result, QuantizedTensor):
                assert str(result.type) == str(value.type)
                continue
            wide = precision == "float64" and value.tensor.dtype.is_float
            assert result.dtype is (torch.float64 if wide else torch_dtype(value.tensor.dtype))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_axis_that_flows_is_touched_at_one_index_only(case: Case) -> None:
    """The insertion of a KV cache rests on this: a token-wise value at token t depends on nothing but token t."""
    op = case.build()
    types = [v.type for v in op.results]
    present = [i for i, value in enumerate(op.operands) if value is not None]
    flows = op.definition.axis_flow(op)
    assert len(flows) == len(present)
    moved: Counter[int] = Counter()
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        operands = case.sample(BINDINGS, generator)

        def evaluate(values: list[Any]) -> list[torch.Tensor]:
            results = apply_reference(op.definition, values, op.attributes, types, BINDINGS, "float64")
            return [dequantized(result, torch.float64) for result in results]

        before = evaluate(operands)
        for i, flow in zip(present, flows, strict=True):
            operand = operands[i]
            if isinstance(operand, QuantizedTensor):
                continue
            type = op.inputs[present.index(i)].type
            type = type.tensor if isinstance(type, StateType) else type
            assert len(flow) == type.rank
            for axis, target in enumerate(flow):
                if target is None:
                    continue
                assert type.shape[axis] is op.results[0].type.shape[target]
                for index in range(operand.shape[axis]):
                    altered = operand.clone()
                    slot = altered.select(axis, index)
                    slot.copy_(random(type, list(slot.shape), case.bound(i, BINDINGS), generator))
                    after = evaluate([altered if j == i else v for j, v in enumerate(operands)])
                    for old, new in zip(before, after, strict=True):
                        difference = (old.double() - new.double()).abs()
                        moved[i] += int(difference.select(target, index).max() > 0)
                        difference.select(target, index).zero_()
                        assert difference.max() < 1e-12, f"operand {i}, axis {axis}, index {index}"
    for i, flow in zip(present, flows, strict=True):
        type = op.inputs[present.index(i)].type
        if any(t is not None for t in flow) and not isinstance(type, QuantizedType) and type.dtype.is_float:
            assert moved[i] or op.results[0].tensor.dtype is DType.BOOL, f"altering operand {i} had no effect"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cost_is_positive_and_free_only_for_views_and_literals(case: Case) -> None:
    op = case.build()
    cost = op.definition.price(op)
    bindings = BINDINGS
    flops = cost.flops.evaluate(bindings)
    read, written = ([size.evaluate(bindings) for size in sizes] for sizes in (cost.reads, cost.writes))
    assert (len(read), len(written)) == (len(op.inputs), len(op.results))
    literal = op.definition is ops.constant and op.result.type.elements.constant is not None
    if op.definition.view or literal:
        assert (flops, sum(read), sum(written), cost.launches) == (0, 0, 0, 0)
    else:
        assert flops >= 0
        assert cost.launches == 1
        assert all(w > 0 for w in written)
        assert sum(read) > 0 or not op.inputs


DTYPES = st.sampled_from([DType.BOOL, DType.I32, DType.I64, DType.F32, DType.BF16])
DIMS = st.sampled_from([Dim.of(n) for n in (1, 2, 3, 4)])
TENSORS = st.builds(TensorType, DTYPES, st.lists(DIMS, max_size=4).map(tuple))


def attribute_values(spec: AttributeSpec) -> st.SearchStrategy[Any]:
    def of(kind: Any) -> st.SearchStrategy[Any]:
        if get_origin(kind) is tuple:
            return st.lists(of(get_args(kind)[0]), max_size=4).map(tuple)
        if get_origin(kind) is Literal:
            return st.sampled_from(get_args(kind))
        if get_args(kind):
            return st.one_of(*map(of, get_args(kind)))
        return {
            bool: st.booleans(),
            int: st.integers(-3, 5),
            float: st.floats(0.1, 3.0),
            Dim: st.integers(-3, 6).map(Dim.of),
            DType: DTYPES,
        }[kind]

    return of(spec.kind) if spec.required else st.one_of(st.just(spec.default), of(spec.kind))


@st.composite
def changed(draw: st.DrawFn, type: Any) -> Any:
    """A type that differs in one respect."""
    tensor = type.tensor if isinstance(type, StateType) else type
    if isinstance(type, QuantizedType):
        return draw(st.one_of(TENSORS, st.just(replace(type, group=draw(st.sampled_from([None, 1, 3]))))))
    match draw(st.sampled_from(["dtype", "dimension", "fewer", "more", "state", "none", "any"])):
        case "dtype":
            return TensorType(draw(DTYPES), tensor.shape)
        case "dimension" if tensor.shape:
            axis = draw(st.integers(0, tensor.rank - 1))
            return tensor.with_shape(*tensor.shape[:axis], draw(DIMS), *tensor.shape[axis + 1 :])
        case "fewer" if tensor.shape:
            return tensor.with_shape(*tensor.shape[draw(st.integers(0, 1)) :][: tensor.rank - 1])
        case "more":
            return tensor.with_shape(draw(DIMS), *tensor.shape)
        case "state":
            return StateType(draw(st.sampled_from(["contiguous", "ring"])), tensor)
        case "none":
            return None
        case _:
            return draw(TENSORS)


@st.composite
def applications(draw: st.DrawFn) -> tuple[OpDef, list[Any], dict[str, Any]]:
    """A case of which up to two operands and an attribute are changed: nobody knows whether it still fits."""
    case = draw(st.sampled_from(CASES))
    bindings = {name: draw(st.integers(1, 4)) for name in BINDINGS}
    types: list[Any] = [None if o is None else substitute_type(parse_type(o), bindings) for o in case.operands]
    for _ in range(draw(st.integers(0, 2)) if types else 0):
        i = draw(st.integers(0, len(types) - 1))
        types[i] = draw(changed(types[i])) if types[i] is not None else draw(TENSORS)
    attributes = {n: substitute(v, bindings) for n, v in case.op.complete(case.attributes).items()}
    if attributes and draw(st.integers(0, 2)) == 0:
        name = draw(st.sampled_from(sorted(attributes)))
        attributes[name] = draw(attribute_values(case.op.attributes[name]))
    return case.op, types + [None] * (len(case.op.operands) - len(types)), attributes


def filled(type: Any, fill: int) -> Any:
    shape = [d.evaluate({}) for d in type.shape]
    if isinstance(type, QuantizedType):
        return quantize(torch.full(shape, float(fill)), type, "absmax")
    return torch.full(shape, fill, dtype=torch_dtype(type.dtype))


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(applications())
def test_what_a_type_rule_accepts_the_reference_evaluates(application: tuple[OpDef, list[Any], dict[str, Any]]) -> None:
    definition, types, attributes = application
    try:
        complete = definition.complete(attributes)
        results = definition.infer(types, complete)
    except IRTypeError:
        return
    fill = 1 if definition.name in ("div", "remainder") else 0
    values = [None if t is None else filled(t, fill) for t in types]
    try:
        evaluated = apply_reference(definition, values, complete, results, {})
    except UserError:
        return
    for type, value in zip(results, evaluated, strict=True):
        assert [d.constant for d in type.shape] == list(value.shape)
