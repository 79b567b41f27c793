"""What an op costs: FLOPs, bits read of each operand and written of each result, launches.

Sizes are polynomials in the graph's symbols, or the least of two. `ir/pricing` adds them up over a graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir.dims import Dim
from graphwright.ir.types import DType, QuantizedType, StateType, TensorType

if TYPE_CHECKING:
    from graphwright.ir.graph import Op

ZERO = Dim.of(0)


@dataclass(frozen=True)
class Least:
    """The smaller of two polynomials, whichever that is once the symbols have values."""

    first: Dim
    second: Dim

    @property
    def symbols(self) -> frozenset[str]:
        return self.first.symbols | self.second.symbols

    def evaluate(self, bindings: Mapping[str, int]) -> int:
        """The integer value; an unbound symbol is an error."""
        return min(self.first.evaluate(bindings), self.second.evaluate(bindings))

    def __str__(self) -> str:
        return f"min({self.first}, {self.second})"


Size = Dim | Least


def least(first: Dim, second: Dim) -> Size:
    """The smaller of two polynomials: one of them where it is known which."""
    spare = (first - second).constant
    return Least(first, second) if spare is None else first if spare <= 0 else second


@dataclass(frozen=True)
class Cost:
    """`flops` counts a multiply-add as two.

    `reads` has the bits read of each operand that is present, in order, `writes` those written of each result. Bits,
    so that 4-bit weights stay exact.
    """

    flops: Dim
    reads: tuple[Size, ...]
    writes: tuple[Size, ...]
    launches: int


def free(op: Op) -> Cost:
    """What an op costs that no kernel runs for."""
    return Cost(ZERO, (ZERO,) * len(op.inputs), (ZERO,) * len(op.results), 0)


def default_cost(
    op: Op, flops: Dim | None = None, *, reads: Mapping[str, Size] | None = None, writes: tuple[Size, ...] | None = None
) -> Cost:
    """Operands read once, results written once; one FLOP a result element unless `flops` is given. Views are free.

    `reads` names the operands of which more or less than the whole is read, `writes` replaces what is written.
    """
    if op.definition.view:
        return free(op)
    if flops is None:
        flops = sum((v.type.elements for v in op.results if not isinstance(v.type, StateType)), ZERO)
    whole = tuple(v.type.bits for v in op.inputs)
    if reads:
        whole = tuple(
            reads.get(operand.name, value.type.bits)
            for operand, value in zip(op.definition.operands, op.operands, strict=True)
            if value is not None
        )
    return Cost(flops, whole, tuple(v.type.bits for v in op.results) if writes is None else writes, 1)


def picked(type: TensorType | QuantizedType, count: Dim) -> Size:
    """The bits of `count` entries of the first axis, each read once however often it is picked.

    Of a quantized weight, which is not grouped along that axis, with what belongs to their groups.
    """
    whole = DType.F32.bits if isinstance(type, QuantizedType) and type.tensor_scale else 0
    each = (type.bits - whole).exact_div(type.shape[0])
    assert each is not None, f"the entries of {type} are of one size"
    return least(each * count + whole, type.bits)
