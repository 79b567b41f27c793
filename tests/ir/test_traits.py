"""Traits that ops are declared with, held against their reference evaluations; both ways where numbers can tell."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from graphwright.ir import Dim, DType, StateType, TensorType, ops
from graphwright.ir.attributes import dimensions
from graphwright.ir.declare import REGISTRY
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.ops.rules import aligned_right
from graphwright.ir.traits import Trait
from tests.ir.cases import CASES, Case

BINDINGS = {"B": 2, "S": 3, "P": 5}
EXACT = 1e-12
"""Some roundings of float64, of numbers of size 1 to 100."""


def with_trait(trait: Trait) -> list[Case]:
    return [case for case in CASES if case.op.has(trait)]


def of_floats(case: Case) -> bool:
    """Whether all that an application takes and gives are plain tensors of floats."""
    op = case.build()
    types = [v.type for v in (*op.inputs, *op.results)]
    return bool(op.inputs) and all(isinstance(t, TensorType) and t.dtype.is_float for t in types)


def evaluate(case: Case, operands: list[Any]) -> list[torch.Tensor]:
    op = case.build()
    return apply_reference(op.definition, operands, op.attributes, [v.type for v in op.results], BINDINGS, "float64")


def sampled(case: Case, seed: int) -> list[Any]:
    operands = case.sample(BINDINGS, torch.Generator().manual_seed(seed))
    return [x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in operands]


@pytest.mark.parametrize("case", with_trait(Trait.ELEMENTWISE), ids=str)
def test_elementwise_ops_treat_every_place_alike(case: Case) -> None:
    """Permuted places of the operands give the result with its places permuted."""
    op = case.build()
    assert op.definition.axis_flow(op) == aligned_right(op)
    generator = torch.Generator().manual_seed(0)
    operands = sampled(case, 0)
    (before,) = evaluate(case, operands)
    for axis in range(before.dim()):
        order = torch.randperm(before.shape[axis], generator=generator)
        permuted: list[Any] = []
        for x in operands:
            if x is None:
                permuted.append(x)
                continue
            own = axis - before.dim() + x.dim()
            moves = own >= 0 and x.shape[own] == before.shape[axis]
            permuted.append(x.index_select(own, order) if x is not None and moves else x)
        (after,) = evaluate(case, permuted)
        assert torch.equal(after, before.index_select(axis, order))


TOLD_BY_PLACES = [c for c in CASES if (of_floats(c) or c.op.has(Trait.MOVES)) and c.op is not ops.cast]
"""A cast to a narrower type changes nothing where all floats are wide, as they are here."""


@pytest.mark.parametrize("case", TOLD_BY_PLACES, ids=str)
def test_moves_are_told_by_places(case: Case) -> None:
    """An op moves elements exactly if the elements' numbers tell what becomes of any other elements in their places."""
    numbers: list[Any] = []
    first = 0
    for x in sampled(case, 0):
        numbers.append(None if x is None else torch.arange(first, first + x.numel(), dtype=torch.float64).view(x.shape))
        first += 0 if x is None else x.numel()
    elements = torch.rand(first, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    places = evaluate(case, numbers)
    results = evaluate(case, [None if x is None else elements[x.long()] for x in numbers])
    moves = all(
        bool((place.long() == place).all())
        and bool(((place >= 0) & (place < first)).all())
        and torch.equal(elements[place.long()], result)
        for place, result in zip(places, results, strict=True)
    )
    assert case.op.has(Trait.MOVES) == moves


@pytest.mark.parametrize("case", [c for c in CASES if of_floats(c)], ids=str)
def test_linear_ops_are_those_that_keep_sums(case: Case) -> None:
    a, b = ([None if x is None else x - 0.5 for x in sampled(case, seed)] for seed in (0, 1))
    together = evaluate(case, [None if x is None else x + y for x, y in zip(a, b, strict=True)])
    apart = [x + y for x, y in zip(evaluate(case, a), evaluate(case, b), strict=True)]
    linear = all(torch.allclose(x, y, rtol=0, atol=EXACT) for x, y in zip(together, apart, strict=True))
    assert case.op.has(Trait.LINEAR) == linear


@pytest.mark.parametrize("case", with_trait(Trait.CHEAP), ids=str)
def test_cheap_ops_compute_in_proportion_to_elements(case: Case) -> None:
    """At most 16 FLOPs an element, which rope and norms stay under, however large the axes are."""
    op = case.build()
    for sizes in (BINDINGS, {name: 64 * size for name, size in BINDINGS.items()}):
        elements = sum(v.type.elements.evaluate(sizes) for v in (*op.inputs, *op.results))
        assert op.definition.price(op).flops.evaluate(sizes) <= 16 * elements


PRIMITIVE = [d for n, d in REGISTRY.items() if "." not in n and d.has(Trait.ELEMENTWISE) and not d.attributes]


@pytest.mark.parametrize("definition", [d for d in PRIMITIVE if not d.name.startswith("dequantize")], ids=str)
def test_ops_that_switch_are_straight_in_pieces(definition: Any) -> None:
    """Second differences are zero nearby and not far off; or the op takes a condition."""
    case = next(c for c in CASES if c.op is definition)
    if any(v.tensor.dtype is DType.BOOL for v in case.build().inputs):
        assert definition.has(Trait.SWITCHES)
        return
    generator = torch.Generator().manual_seed(0)
    count = len(definition.operands)

    def bent(points: list[torch.Tensor], step: float) -> float:
        values = [definition.evaluate([x + (i + 1) * k * step for i, x in enumerate(points)], {}) for k in (-1, 0, 1)]
        low, middle, high = (v.double() for v in values)
        return float((low - 2 * middle + high).nan_to_num(0, 0, 0).abs().max())

    nearby = [torch.rand(200, generator=generator, dtype=torch.float64) * 4 + 0.3 for _ in range(count)]
    grid = [torch.randint(-4, 5, (200,), generator=generator).double() / 2 for _ in range(count)]
    # Nearby: rounding, against the square of the step times a second derivative that is 0.1 at least somewhere.
    pieces = bent(nearby, 1e-5) < EXACT
    assert definition.has(Trait.SWITCHES) == (pieces and bent(grid, 0.5) > 0.1)


def test_shaped_ops_are_those_whose_dimensions_are_lengths_of_the_result() -> None:
    wrong: list[str] = []
    for definition in {case.op for case in CASES}:
        kinds = [spec.kind for spec in definition.attributes.values()]
        with_dims = any(kind is Dim or Dim in get_args(kind) for kind in kinds)
        shaped = with_dims and all(
            dim in op.result.type.shape
            for op in (case.build() for case in CASES if case.op is definition)
            for attribute in op.attributes.values()
            for dim in dimensions(attribute)
        )
        if shaped != definition.has(Trait.SHAPED):
            wrong.append(definition.name)
    assert not wrong


def test_views_keep_elements_and_states_are_written_in_place() -> None:
    assert {d.name for d in REGISTRY.values() if d.in_place and "." not in d.name} == {"kv_append"}
    append = next(c for c in CASES if c.op is ops.kv_append).build()
    assert isinstance(append.result.type, StateType)
    assert append.result.type == append.required("cache").type


def test_traits_follow_from_traits() -> None:
    assert {Trait.CHEAP, Trait.LINEAR} < ops.transpose.traits
    assert Trait.CHEAP in ops.exp.traits
    assert Trait.LINEAR not in ops.exp.traits
    assert not ops.attention.traits
    assert {d.name for d in REGISTRY.values() if not d.operands and "." not in d.name} == {
        "constant",
        "iota",
        "dim_value",
        "seeded",
    }
