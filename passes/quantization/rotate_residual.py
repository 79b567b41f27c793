"""Rotates the residual stream, so that no channel of it, and no column or row of a weight, stands out."""

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import Graph, Op, Program, StoredArray, ops
from graphwright.ir.declare import OpDef
from graphwright.ir.rewriting import Outcome
from graphwright.ir.types import TensorType
from graphwright.ir.weights import Applied, WeightExpression
from graphwright.passes.base import Pass, register
from graphwright.passes.quantization.weight_folds import Blocked, ResidualStream, WeightChanges, rotation
from graphwright.passes.quantization.weight_folds.residual_stream import Reader
from graphwright.passes.quantization.weight_folds.scale_flow import READERS
from graphwright.passes.quantization.weight_folds.weight_changes import Transform, in_double, rounded_once

RULE = "rotate-residual"


@register
@dataclass(frozen=True)
class RotateResidual(Pass):
    """Weights that write into the residual stream or read it are rotated by one Hadamard matrix with random signs.

    Norms keep ones: their weights go into the layers behind them first, and biases of layer norms into biases there
    (QuaRot, Ashkboos et al. 2024, section 4). An output head that shares the embedding's table gets a weight of its own
    if a norm's weight goes into it.
    """

    name: ClassVar[str] = "rotate-residual"
    findings: ClassVar[tuple[str, ...]] = (RULE,)
    seed: int = 0

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        try:
            streams = [(graph, ResidualStream(graph)) for graph in program.graphs.values()]
            matrix = _rotation(streams, self.seed)
        except Blocked as problem:
            at = next((op for graph in program.graphs.values() for op in graph if op.definition is ops.embedding), None)
            if at is not None:
                outcome.miss(RULE, at, 1, str(problem))
            return outcome
        changes = WeightChanges()
        for graph, stream in streams:
            for reader in stream.readers:
                _fold_norm(program, graph, reader, changes)
        for graph, stream in streams:
            for norm in stream.norms:
                _bare_norm(graph, norm, changes)
            for op, index in stream.tables:
                changes.change(graph, op, index, matrix.channels)
            for op, index in stream.rows:
                changes.change(graph, op, index, matrix.rows)
            for op in (reader.op for reader in stream.readers):
                changes.change(graph, op, op.definition.operand_index(READERS[op.definition]), matrix.channels)
        changes.apply(program)
        for _, stream in streams:
            outcome.hit(RULE, stream.first)
        return outcome


@dataclass(frozen=True)
class _Rotation:
    """A rotation R f64 [size, size] of row vectors, as transforms of weights; computed in float64 and rounded once."""

    matrix: StoredArray
    transposed: StoredArray

    def channels(self, expression: WeightExpression) -> WeightExpression:
        """The last axis holds channels: w R."""
        if expression.type.rank > 1:
            return rounded_once(expression, lambda w: Applied.of(ops.matmul, (w, self.matrix), {}))
        # A product needs two axes; of one, linear takes the transpose.
        return rounded_once(expression, lambda w: Applied.of(ops.linear, (w, self.transposed), {}))

    def rows(self, expression: WeightExpression) -> WeightExpression:
        """The last axis but one holds channels: Rᵀ w."""
        return rounded_once(expression, lambda w: Applied.of(ops.matmul, (self.transposed, w), {}))


def _rotation(streams: list[tuple[Graph, ResidualStream]], seed: int) -> _Rotation:
    sizes = {stream.size for _, stream in streams}
    if len(sizes) != 1:
        raise Blocked(f"the program's graphs have residual streams of {' and '.join(map(str, sorted(sizes)))} channels")
    (size,) = sizes
    matrix = rotation(size, seed, any(stream.reads_mean for _, stream in streams))
    if matrix is None:
        raise Blocked(f"the residual stream has {size} channels, and no Hadamard matrix of that size is known")
    return _Rotation(StoredArray.of(matrix), StoredArray.of(matrix.T.contiguous()))


def _fold_norm(program: Program, graph: Graph, reader: Reader, changes: WeightChanges) -> None:
    """The norm's weight goes into the columns that read it; its bias, by way of them, into the bias there."""
    op, norm = reader.op, reader.norm
    if norm is None:
        return
    columns = READERS[op.definition]
    if norm.definition is ops.layer_norm and norm.operand("bias") is not None:
        weight = in_double(_expression(op, columns))
        shift = rounded_once(_expression(norm, "bias"), lambda b: Applied.of(ops.linear, (b, weight), {}))
        index = ops.linear.operand_index("bias")
        if op.operand("bias") is None:
            bias = program.add_weight(f"{op.required(columns).name}.bias", shift)
            graph.set_operand(op, index, graph.weight(bias))
        else:
            changes.change(graph, op, index, _combined(ops.add, shift))
    if norm.operand("weight") is not None:
        changes.change(graph, op, op.definition.operand_index(columns), _combined(ops.mul, _expression(norm, "weight")))


def _combined(definition: OpDef, other: WeightExpression) -> Transform:
    """The transform that puts the op of a weight and another in its place."""
    return lambda expression: rounded_once(expression, lambda w: Applied.of(definition, (w, in_double(other)), {}))


def _bare_norm(graph: Graph, norm: Op, changes: WeightChanges) -> None:
    """The norm's weight becomes ones, its bias goes."""
    if norm.operand("weight") is not None:
        changes.change(graph, norm, norm.definition.operand_index("weight"), _ones)
    if norm.definition is ops.layer_norm:
        graph.set_operand(norm, norm.definition.operand_index("bias"), None)


def _ones(expression: WeightExpression) -> WeightExpression:
    assert isinstance(expression.type, TensorType)
    attributes = {"value": 1.0, "dtype": expression.type.dtype, "shape": expression.type.shape}
    return Applied.of(ops.constant, (), attributes)


def _expression(op: Op, name: str) -> WeightExpression:
    weight = op.required(name).weight
    assert weight is not None, f"{name} of {op} is not a weight"
    return weight.expression
