"""Products of linear layers in bf16, for processors that multiply that faster than float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir import DType, Graph, Op, Program, TensorType, Value, notify, ops
from graphwright.ir.builder import Builder
from graphwright.ir.dialects.cpu.bf16 import narrow_form
from graphwright.ir.rewriting import Outcome
from graphwright.ir.weights import Applied, Weight
from graphwright.passes.base import Pass, register

RULE = "bf16-products"


@register
@dataclass(frozen=True)
class ComputeInBF16(Pass):
    """What linear layers in f32 read, and their weights, are rounded to bf16; sums and all else stay f32.

    A number keeps 8 significant bits, and its range. A weight that holds bf16 numbers already stays as it is; of one
    that is also an embedding table, rows are rounded too.
    """

    name: ClassVar[str] = RULE
    lossy: ClassVar[bool] = True
    findings: ClassVar[tuple[str, ...]] = (RULE,)

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        weights: dict[str, Weight] = {}
        for graph in program.graphs.values():
            for x, layers in _readers(graph, outcome).items():
                rounded = _rounded(graph, x, layers[0])
                for op in layers:
                    graph.set_operand(op, ops.linear.operand_index("x"), rounded)
                    weight = op.required("weight").weight
                    assert weight is not None
                    weights[weight.name] = weight
                outcome.hit(RULE, layers[0], layers)
        if not weights:
            return outcome
        for weight in weights.values():
            _round_weight(program, weight)
        for graph in program.graphs.values():
            graph.erase_dead()
        program.erase_unused_weights()
        notify(
            f"products with {len(weights)} weights are computed in bf16, which is lossy: `graphwright evaluate` says "
            "what it costs"
        )
        return outcome


def _readers(graph: Graph, outcome: Outcome) -> dict[Value, list[Op]]:
    """Of each value that is not rounded yet the linear layers in f32 that read it, in order."""
    readers: dict[Value, list[Op]] = {}
    for op in graph:
        if op.definition is not ops.linear:
            continue
        x, weight = op.required("x"), op.required("weight")
        if not isinstance(weight.type, TensorType) or is_rounded(x):
            continue
        if x.tensor.dtype is not DType.F32 or weight.weight is None:
            other = x.tensor.dtype is not DType.F32
            outcome.miss(RULE, op, 1, f"it computes in {x.tensor.dtype}" if other else "its weight is computed")
            continue
        readers.setdefault(x, []).append(op)
    return readers


def is_rounded(x: Value) -> bool:
    """Whether a value of f32 was cast to bf16 and back."""
    wide = x.defined_by(ops.cast)
    return wide is not None and wide.inputs[0].tensor.dtype is DType.BF16


def _rounded(graph: Graph, x: Value, first: Op) -> Value:
    build = Builder(graph, first, first.location)
    return build(ops.cast, build(ops.cast, x, dtype=DType.BF16), dtype=DType.F32)


def _round_weight(program: Program, weight: Weight) -> None:
    """Everything that reads the weight reads it rounded."""
    if narrow_form(weight.expression) is not None:
        return
    narrow = Applied.of(ops.cast, (weight.expression,), {"dtype": DType.BF16})
    new = program.add_weight(f"{weight.name}.bf16", Applied.of(ops.cast, (narrow,), {"dtype": DType.F32}))
    for graph in program.graphs.values():
        for value in graph.weights:
            if value.weight is weight:
                graph.replace(value, graph.weight(new))
