"""What there is to choose from: the weights of a program, and what each format of each is thought to lose and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graphwright.ir import Graph, Op, Program, Weight, ops
from graphwright.ir.convention import DECODE
from graphwright.ir.machines import Machine
from graphwright.ir.pricing import graph_cost, total_time
from graphwright.ir.weights import WeightExpression
from graphwright.passes.calibration import calibration_graph
from graphwright.passes.quantization.mixed_precision.choice import Option
from graphwright.passes.quantization.mixed_precision.divergence import Reference
from graphwright.passes.quantization.mixed_precision.formats import KEPT, expression
from graphwright.passes.quantization.mixed_precision.sensitivity import losses
from graphwright.passes.quantization.weights import replace_linear_weight

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Task:
    """`options` are those of each weight, by its name; a choice has one of each, in their order."""

    program: Program
    reference: Reference
    formats: tuple[str, ...]
    options: dict[str, list[Option]]
    known: dict[tuple[str, ...], float] = field(default_factory=dict[tuple[str, ...], float])
    """What choices were measured to lose, by the formats of all weights."""

    @classmethod
    def of(
        cls,
        program: Program,
        tokens: Tensor,
        chosen: dict[str, list[Op]],
        formats: tuple[str, ...],
        machine: Machine | None,
    ) -> Task:
        """Measures each of the weights once; see `sensitivity`. Without a machine bytes stand for time."""
        reference = Reference(program, tokens)
        options: dict[str, list[Option]] = {}
        for name, row in losses(program, tokens, chosen, formats, reference).items():
            weight = program.weights[name]
            forms = {format: expression(weight, format) for format in formats}
            options[name] = [
                Option(format, row[format], decode_cost(program, weight, form, machine), form.type.bits.evaluate({}))
                for format, form in forms.items()
            ]
        return cls(program, reference, formats, options)

    @property
    def rows(self) -> list[list[Option]]:
        return list(self.options.values())

    @property
    def elements(self) -> int:
        """How many numbers all the weights have."""
        return sum(self.program.weights[name].type.elements.evaluate({}) for name in self.options)

    def mean_bits(self, picks: Sequence[Option]) -> float:
        """Bits that a number of the weights takes, scales and zero points included."""
        return sum(pick.bits for pick in picks) / self.elements

    def applied(self, picks: Sequence[Option]) -> Program:
        """A copy of the program in which the weights have those formats."""
        copy = self.program.clone()
        for name, pick in zip(self.options, picks, strict=True):
            if pick.format != KEPT:
                weight = copy.weights[name]
                replace_linear_weight(copy, weight, f"{name}.{pick.format}", expression(weight, pick.format))
        return copy

    def loss(self, picks: Sequence[Option]) -> float:
        """The KL divergence of the whole choice in nats a token, measured on the calibration tokens."""
        key = tuple(pick.format for pick in picks)
        if key not in self.known:
            self.known[key] = self.reference.divergence(self.applied(picks))
        return self.known[key]

    def summary(self, picks: Sequence[Option]) -> str:
        predicted = sum(pick.loss for pick in picks)
        return (
            f"{self.loss(picks):.3g} nats a token measured, {predicted:.3g} predicted, "
            f"at {self.mean_bits(picks):.3f} bits a weight"
        )


def decode_cost(program: Program, weight: Weight, expression: WeightExpression, machine: Machine | None) -> float:
    """Of all linear layers over the weight, for one token of one row, if it had that expression.

    Seconds by the roofline on a machine; where there is none, bytes of the weight read, which bind at this size.
    """
    graph = program.graphs.get(DECODE) or calibration_graph(program)
    layers = [op for op in graph if op.definition is ops.linear and op.required("weight").weight is weight]
    return sum(_cost(op, expression, machine) for op in layers)


def _cost(op: Op, expression: WeightExpression, machine: Machine | None) -> float:
    alone = Graph(op.name)
    operands = [
        value if value is None else alone.add_input(operand.name, value.type)
        for operand, value in zip(op.definition.operands, op.operands, strict=True)
    ]
    operands[op.definition.operand_index("weight")] = alone.weight(Weight("weight", expression))
    alone.insert(op.definition, operands, op.attributes)
    work = graph_cost(alone).at(dict.fromkeys(alone.symbols, 1))
    return sum(w.weight_bits for w in work) / 8 if machine is None else total_time(work, machine)[0]
