"""How far the logits of a program move when weights of it do: mean KL divergence over calibration tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphwright.ir import Graph, Interpreter, PassError, Program, Value, Weight, ops
from graphwright.ir.convention import LOGITS
from graphwright.ir.interpreter import bind_symbols, cone
from graphwright.ir.lazy import torch
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.weights import WeightExpression
from graphwright.passes.calibration import calibration_graph, calibration_inputs

if TYPE_CHECKING:
    from torch import Tensor

ROWS_AT_ONCE = 8


@dataclass
class _Batch:
    """Rows on their way through the graph: the values that are still needed, and the logits [rows, length, V]."""

    known: dict[Value, Tensor]
    bindings: dict[str, int]
    logits: Tensor

    def divergence(self, logits: Tensor) -> float:
        """The KL divergence of others from the logits, summed over tokens."""
        p, q = self.logits.double().log_softmax(-1), logits.double().log_softmax(-1)
        return float((p.exp() * (p - q)).sum())


class Reference:
    """A program's own logits on tokens i64 [rows, length], to hold those of altered weights against.

    Holds the logits of all tokens and the float weights of the program. Raises `PassError` where it makes no logits
    of tokens.
    """

    def __init__(self, program: Program, tokens: Tensor) -> None:
        self.graph: Graph = calibration_graph(program)
        if LOGITS not in self.graph.outputs:
            raise PassError(f"program '{program.name}' makes no logits: there is no KL divergence to measure")
        self._logits = self.graph.outputs[LOGITS]
        self._count = tokens.numel()
        self._interpreter = Interpreter()
        self._batches = [
            self._batch(calibration_inputs(self.graph, tokens[i : i + ROWS_AT_ONCE]))
            for i in range(0, len(tokens), ROWS_AT_ONCE)
        ]

    def _batch(self, inputs: Mapping[str, Tensor]) -> _Batch:
        known = {self.graph.input(name): x for name, x in inputs.items()}
        bindings = bind_symbols(self.graph, inputs)
        (logits,) = self._interpreter.run_cone(known, [self._logits], bindings)
        return _Batch(known, bindings, logits)

    def divergence(self, program: Program) -> float:
        """The mean KL divergence of a program of the same inputs from this one, in nats a token."""
        graph, interpreter = program.graphs[self.graph.name], Interpreter()
        total = 0.0
        for batch in self._batches:
            known = {graph.input(str(value.name)): x for value, x in batch.known.items()}
            (logits,) = interpreter.run_cone(known, [graph.outputs[LOGITS]], batch.bindings)
            total += batch.divergence(logits)
        return total / self._count

    def divergences(self, altered: Mapping[Weight, WeightExpression]) -> Iterator[tuple[Weight, float]]:
        """Of each weight that linear layers read the divergence if it alone were another, in the graph's order.

        Only what comes after a weight is run again for it, from the values that are kept until there.
        """
        batches = [_Batch(dict(b.known), b.bindings, b.logits) for b in self._batches]
        order = cone([self._logits])
        last = {v: op for op in order for v in op.inputs}
        pending = dict(altered)
        for op in order:
            value = op.operand("weight") if op.definition is ops.linear else None
            if value is not None and value.weight is not None and value.weight in pending:
                weight = value.weight
                rounded = as_floats(pending.pop(weight))
                yield weight, sum(self._with(batch, value, rounded) for batch in batches) / self._count
            for batch in batches:
                results = self._interpreter.run_cone(batch.known, op.results, batch.bindings)
                batch.known.update(zip(op.results, results, strict=True))
                for done in (v for v in op.inputs if last[v] is op):
                    batch.known.pop(done, None)

    def _with(self, batch: _Batch, weight: Value, rounded: Tensor) -> float:
        """The divergence summed over tokens if what is still to be run reads another weight."""
        (logits,) = self._interpreter.run_cone({**batch.known, weight: rounded}, [self._logits], batch.bindings)
        return batch.divergence(logits)


def as_floats(expression: WeightExpression) -> Tensor:
    """What a weight of that expression stands for, as floats."""
    value: Any = expression.evaluate()
    return value.dequantize(torch.float32) if isinstance(value, QuantizedTensor) else value
