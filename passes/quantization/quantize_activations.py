"""What linear layers read, in few bits."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from graphwright.ir import DType, Graph, Op, Program, Value, ops
from graphwright.ir.lazy import torch
from graphwright.ir.rewriting import Outcome
from graphwright.ir.rounding import Grid
from graphwright.ir.types import QuantizedType
from graphwright.ir.weights import StoredArray
from graphwright.passes.base import Pass, PassError, register
from graphwright.passes.calibration import calibrate, calibration_tokens
from graphwright.passes.quantization.weights import STACKS, Layers, covers

RULE = "quantize-activations"


@register
@dataclass(frozen=True)
class QuantizeActivations(Pass):
    """What linear layers with quantized weights read is rounded to codes of `to`, as integer kernels do.

    Scales are dynamic, by the largest of each `group` elements (0: of a token's vector); or static, one for each value
    that layers read, by the largest element over calibration `tokens` (a .npy file, int64 [rows, length]).
    """

    name: ClassVar[str] = "quantize-activations"
    lossy: ClassVar[bool] = True
    findings: ClassVar[tuple[str, ...]] = (RULE,)
    to: Literal["i8", "i4", "f8e4m3", "f8e5m2"] = "i8"
    group: int = 0
    layers: Layers = "all"
    tokens: str = ""

    def run(self, program: Program) -> Outcome:
        if self.group < 0 or (self.group and self.tokens):
            wanted = "0 with static scales" if self.tokens else "0 (one scale a token) or more"
            raise PassError(f"{self.name}: groups of {self.group}, expected {wanted}")
        largest = self._largest(program) if self.tokens else None
        outcome = Outcome()
        for graph in program.graphs.values():
            for x, layers in self._readers(graph).items():
                scale = None if largest is None else self._scale(program, graph, layers, largest)
                attributes = {"to": DType(self.to), "group": self.group}
                first = layers[0]
                new = graph.insert(ops.fake_quantize, (x, scale), attributes, before=first, location=first.location)
                for op in layers:
                    graph.set_operand(op, ops.linear.operand_index("x"), new.result)
                outcome.hit(RULE, first, layers)
            for op in graph:
                if op.definition is ops.moe_experts and self.layers != "head" and _reads_codes(op):
                    outcome.miss(RULE, op, 1, "experts read activations as they are: linear layers alone round theirs")
        return outcome

    def _readers(self, graph: Graph) -> dict[Value, list[Op]]:
        """Of each value that is not rounded yet the layers with quantized weights that read it, in order."""
        readers: dict[Value, list[Op]] = {}
        for op in filter(self._wanted, graph):
            x = op.required("x")
            if x.defined_by(ops.fake_quantize) is None:
                readers.setdefault(x, []).append(op)
        return readers

    def _wanted(self, op: Op) -> bool:
        return (
            op.definition is ops.linear
            and isinstance(op.required("weight").type, QuantizedType)
            and covers(self.layers, [op])
        )

    def _largest(self, program: Program) -> dict[str, float]:
        """Of each weight the largest magnitude that a layer over it reads."""
        largest: dict[str, float] = {}
        for site, statistics in calibrate(program, calibration_tokens(program, self.tokens), self._wanted):
            for op in site.ops:
                name = str(op.required("weight").name)
                largest[name] = max(largest.get(name, 0.0), float(statistics.largest.max()))
        return largest

    def _scale(self, program: Program, graph: Graph, layers: list[Op], largest: dict[str, float]) -> Value:
        names = [str(op.required("weight").name) for op in layers]
        if strangers := [name for name in names if name not in largest]:
            raise PassError(f"{self.name}: calibration does not come by weight '{strangers[0]}' of '{graph.name}'")
        most = max(largest[name] for name in names) or 1.0
        scale = torch.tensor(most / Grid(DType(self.to)).most, dtype=torch.float32)
        # Prefill and decode name the scale alike, so that they share it.
        name = f"{names[0].removesuffix('.quantized')}.input_scale"
        shared = program.weights.get(name)
        if shared is None or not torch.equal(shared.evaluate(), scale):
            shared = program.add_weight(name, StoredArray.of(scale))
        return graph.weight(shared)


def _reads_codes(experts: Op) -> bool:
    return any(isinstance(experts.required(name).type, QuantizedType) for name in STACKS)
