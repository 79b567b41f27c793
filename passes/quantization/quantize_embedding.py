"""Embedding tables in few bits."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from graphwright.ir import Op, Program, TensorType, ops
from graphwright.ir.rewriting import Outcome
from graphwright.passes.base import Pass, register
from graphwright.passes.quantization.formats import Codes, Format, ScaleType
from graphwright.passes.quantization.weights import require_finite

RULE = "quantize-embedding"


@register
@dataclass(frozen=True)
class QuantizeEmbedding(Pass):
    """Tables of embeddings become codes of `to`, with one scale for each `group` elements of a row (0: one a row).

    A head over the same table that `quantize-weights` rounds in the same way reads the same codes: they are one weight.
    """

    name: ClassVar[str] = "quantize-embedding"
    lossy: ClassVar[bool] = True
    findings: ClassVar[tuple[str, ...]] = (RULE,)
    to: Codes = "i8"
    group: int = 0
    method: Literal["absmax", "mse"] = "mse"
    scale: ScaleType = "f32"
    minimum: bool = False

    def run(self, program: Program) -> Outcome:
        format = Format(self.to, self.group, self.scale, self.minimum)
        format.check(self.name)
        outcome = Outcome()
        for name, lookups in _lookups(program).items():
            weight = program.weights[name]
            require_finite(weight, lookups)
            table = program.add_weight(f"{name}.quantized", format.rounded(weight.expression, self.method))
            for graph in program.graphs.values():
                for op in [op for op in graph if op in lookups]:
                    operands = (graph.weight(table), op.required("indices"))
                    dtype = op.result.tensor.dtype
                    new = graph.insert(
                        ops.quantized_embedding, operands, {"dtype": dtype}, before=op, location=op.location
                    )
                    graph.replace(op.result, new.result)
                    graph.erase(op)
            outcome.hit(RULE, lookups[0], lookups)
        for graph in program.graphs.values():
            graph.erase_dead()
        program.erase_unused_weights()
        return outcome


def _lookups(program: Program) -> dict[str, list[Op]]:
    """Of each table [vocabulary, size] of floats the ops that look up in it, in every graph."""
    found: dict[str, list[Op]] = {}
    for graph in program.graphs.values():
        for op in graph:
            if op.definition is ops.embedding:
                table = op.required("weight")
                if table.weight is not None and isinstance(table.type, TensorType) and table.type.dtype.is_float:
                    found.setdefault(table.weight.name, []).append(op)
    return found
