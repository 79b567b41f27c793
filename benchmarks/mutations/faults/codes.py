"""Faults of weights that are codes again."""

from __future__ import annotations

from benchmarks.mutations.altering import the
from benchmarks.mutations.fault import after, faults_of
from graphwright.ir import Dim, DType, Program, Weight, ops
from graphwright.ir.weights import Applied, WeightExpression


def _weight(program: Program, at: str) -> Weight:
    """The weight of the linear layer at that place."""
    weight = the(program.graphs["prefill"], ops.linear, at).required("weight").weight
    assert weight is not None
    return program.weights[weight.name]


def _with(weight: Weight, **parts: WeightExpression) -> None:
    """The weight put together from other parts."""
    whole = weight.expression
    assert isinstance(whole, Applied)
    named = dict(zip((o.name for o in whole.definition.operands), whole.operands, strict=True)) | parts
    weight.expression = Applied.of(ops.quantized, tuple(named.values()), dict(whole.attributes))


def _part(weight: Weight, name: str) -> WeightExpression:
    assert isinstance(weight.expression, Applied)
    part = weight.expression.operands[ops.quantized.operand_index(name)]
    assert part is not None
    return part


@after("restore-quantized", "coded")
def zero_points_less_one(program: Program) -> None:
    """Zero points are one too small, as they are stored in GPTQ's first format; 0 becomes 15."""
    weight = _weight(program, "mlp.down_proj")
    sixteen = [Applied.of(ops.constant, (), {"value": n, "dtype": DType.U8}) for n in (15, 16)]
    wide = Applied.of(ops.cast, (_part(weight, "zero_points"),), {"dtype": DType.U8})
    less = Applied.of(ops.remainder, (Applied.of(ops.add, (wide, sixteen[0]), {}), sixteen[1]), {})
    _with(weight, zero_points=Applied.of(ops.cast, (less,), {"dtype": DType.U4}))


@after("restore-quantized", "coded")
def scales_of_other_rows(program: Program) -> None:
    """The scales of packed rows stand in another order than their codes."""
    weight = _weight(program, "self_attn")
    scales = _part(weight, "scales")
    cuts = [{"axis": 0, "start": Dim.of(a), "stop": Dim.of(b)} for a, b in ((32, scales.type.shape[0]), (0, 32))]
    parts = tuple(Applied.of(ops.slice, (scales,), cut) for cut in cuts)
    _with(weight, scales=Applied.of(ops.concat, parts, {"axis": 0}))


FAULTS = faults_of(globals())
