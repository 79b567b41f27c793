"""Computes in a wider float type than the checkpoint's: a graph in bfloat16 runs in float32 on a CPU without it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from graphwright.ir import Dim, DType, Graph, Op, Program, StateType, TensorType, Type, Value, notify, ops
from graphwright.ir.interpreter import COMPUTED
from graphwright.ir.rewriting import Outcome
from graphwright.ir.weights import Applied
from graphwright.passes.base import Pass, register


@register
@dataclass(frozen=True)
class ConvertDType(Pass):
    """Every float narrower than `to` becomes `to`; weights are cast when they are written. Widening is exact.

    A cast to a type narrower than the program's own (`own_float`) is a rounding that its author wrote: it stays, and
    what it rounded is widened again. What is computed between such a cast and the next one is no longer rounded: those
    results are counted as `no-longer-rounded` and told in a notice.
    """

    name: ClassVar[str] = "convert-dtype"
    findings: ClassVar[tuple[str, ...]] = ("converted", "rounding-kept", "no-longer-rounded")
    to: Literal["f32", "f64"] = "f32"

    @property
    def promised_dtype(self) -> DType:
        return DType(self.to)

    def run(self, program: Program) -> Outcome:
        target = DType(self.to)
        outcome = Outcome()
        own = own_float(program)
        for name, graph in list(program.graphs.items()):
            program.graphs[name] = _convert(program, graph, target, own, outcome)
        program.erase_unused_weights()
        if unrounded := outcome.places.get("no-longer-rounded"):
            (place, _), *_ = unrounded.most_common(1)
            where = f", most of them in {place}" if place else ""
            notify(
                f"{unrounded.total()} results are computed in {target} and no longer rounded to the narrower type in "
                f"which the model's code has them{where}; its casts to that type still round"
            )
        return outcome


_COMPUTED_IN = (DType.F16, DType.BF16, DType.F32, DType.F64)


def own_float(program: Program) -> DType:
    """The float type that a program is held in: that of most elements of its weights, of two alike the wider one.

    Casts to it are how a model goes on after a norm or a softmax in a wider type. Without float weights it is the
    widest type of a float input, and float32 where there is none.
    """
    elements = dict.fromkeys(_COMPUTED_IN, 0)
    for weight in program.weights.values():
        if isinstance(weight.type, TensorType) and weight.type.dtype in elements:
            elements[weight.type.dtype] += weight.type.elements.evaluate({})
    if any(elements.values()):
        return max(_COMPUTED_IN, key=lambda dtype: (elements[dtype], dtype.bits))
    given = [v.tensor.dtype for graph in program.graphs.values() for v in graph.inputs]
    return max((d for d in given if d in elements), key=lambda dtype: dtype.bits, default=DType.F32)


def is_written_rounding(op: Op, own: DType) -> bool:
    """Whether an op is a cast that rounds to a float type narrower than the program's own."""
    if op.definition is not ops.cast:
        return False
    before, after = op.inputs[0].tensor.dtype, op.result.tensor.dtype
    exact = before is after or before is DType.BOOL or before.bits < after.bits
    return after in _COMPUTED_IN and after.bits < own.bits and not exact


def _computes_narrowly(op: Op, own: DType) -> bool:
    """Whether an op, no cast, makes numbers in a float type narrower than the program's own."""
    if op.definition.view or op.definition is ops.cast or op.definition.price(op).flops == Dim.of(0):
        return False
    return any(
        isinstance(v.type, TensorType) and v.type.dtype in _COMPUTED_IN and v.type.dtype.bits < own.bits
        for v in op.results
    )


def _widened(dtype: DType, target: DType) -> DType:
    return target if dtype in _COMPUTED_IN and dtype.bits < target.bits else dtype


def _widened_type(type: Type, target: DType) -> Type:
    if isinstance(type, TensorType):
        return type.with_dtype(_widened(type.dtype, target))
    if isinstance(type, StateType):
        return StateType(type.layout, type.tensor.with_dtype(_widened(type.dtype, target)))
    return type


def _convert(program: Program, graph: Graph, target: DType, own: DType, outcome: Outcome) -> Graph:
    copy = Graph(graph.name)
    values: dict[Value, Value] = {}
    rounded: set[Value] = set()
    for value in graph.inputs:
        assert value.name is not None
        values[value] = copy.add_input(value.name, _widened_type(value.type, target))
    for value in graph.weights:
        weight = value.weight
        assert weight is not None
        if _widened_type(weight.type, target) != weight.type:
            weight = program.add_weight(weight.name, Applied.of(ops.cast, (weight.expression,), {"dtype": target}))
            outcome.count("converted", 1)
        values[value] = copy.weight(weight)
    for op in graph:
        if is_written_rounding(op, own) and _widened_type(op.result.type, target) != op.result.type:
            narrow = copy.insert(ops.cast, [values[op.inputs[0]]], op.attributes, location=op.location).result
            wide = copy.insert(ops.cast, [narrow], {"dtype": target}, location=op.location).result
            values[op.result] = wide
            rounded.add(wide)
            outcome.count("rounding-kept", 1, op.location)
            continue
        if op.definition is ops.cast and values[op.inputs[0]] in rounded:
            source = values[op.inputs[0]]
            if source.type == _widened_type(op.result.type, target):  # the author's own way back
                values[op.result] = source
                continue
        if _computes_narrowly(op, own):
            outcome.count("no-longer-rounded", 1, op.location)
        attributes = {
            k: _widened(a, target) if k == COMPUTED and isinstance(a, DType) else a for k, a in op.attributes.items()
        }
        operands = [None if v is None else values[v] for v in op.operands]
        new = copy.insert(op.definition, operands, attributes, location=op.location)
        if any(a.type != b.type for a, b in zip(op.results, new.results, strict=True)):
            outcome.count("converted", 1, op.location)
        values.update(zip(op.results, new.results, strict=True))
    copy.outputs = {name: values[v] for name, v in graph.outputs.items()}
    return copy
