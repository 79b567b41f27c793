"""Interpreters for a proof: one in float64, and one that adds the noise of rounding to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from graphwright.ir import Interpreter, Op, Value
from graphwright.ir.attributes import dimensions
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.lazy import torch
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import QuantizedType, Type

if TYPE_CHECKING:
    from torch import Tensor

FLOAT32 = 2.0**-24
"""The unit roundoff of float32: a pass may keep a constant to this precision."""
FLOAT64 = 2.0**-53
"""That of float64, in which a proof makes its sums."""


class Float64Interpreter(Interpreter):
    """Evaluates in float64, except what weights and constants alone determine: that is rounded as declared.

    A pass that folds constants stores them in their declared type; so both sides of a comparison have the same ones.
    Where a pass changes the types themselves, nothing is rounded: `folds` is false.
    """

    def __init__(self, folds: bool = True) -> None:
        super().__init__("float64")
        self.folds = folds
        self._constant: set[Value] = set()

    def run_op(self, op: Op, operands: Sequence[Tensor | None], bindings: Mapping[str, int]) -> list[Tensor]:
        if not (self.folds and self.is_constant(op)):
            return super().run_op(op, operands, bindings)
        self._constant.update(op.results)
        narrow = [
            None if v is None or x is None else _declared(x, v.type) for v, x in zip(op.operands, operands, strict=True)
        ]
        types = [v.type for v in op.results]
        results = apply_reference(op.definition, narrow, op.attributes, types, bindings)
        return [self._settle(x) for x in results]

    def fresh(self) -> Float64Interpreter:
        """One for graphs that have changed since; weights that were evaluated are kept."""
        other = Float64Interpreter(self.folds)
        other._weights = self._weights
        return other

    def is_constant(self, op: Op) -> bool:
        """Whether weights and constants alone determine the op's results, and no symbol does."""
        return (
            all(v.weight is not None or v in self._constant for v in op.inputs)
            and not any(d.symbols for v in op.results for d in v.type.shape)
            and not any(d.symbols for a in op.attributes.values() for d in dimensions(a))
        )


class NoisyInterpreter(Float64Interpreter):
    """Disturbs every computed float by a random relative error, as rounding does.

    That is one rounding to float32, as of a constant that goes into it, and one of unit roundoff `sums` for each of
    the n operations behind it, which add up like sqrt(n): a result is multiplied by 1 + (2^-24 + sqrt(n) * sums) * u, u
    uniform in [-1, 1]. What comes out is how far rounding alone may move an answer (Monte Carlo arithmetic: Parker
    1997, UCLA CSD-970002).
    """

    def __init__(self, seed: int, sums: float = FLOAT64, folds: bool = True) -> None:
        super().__init__(folds)
        self._generator = torch.Generator().manual_seed(seed)
        self._sums = sums

    def run_op(self, op: Op, operands: Sequence[Tensor | None], bindings: Mapping[str, int]) -> list[Tensor]:
        results = super().run_op(op, operands, bindings)
        if op.definition.view or all(v in self._constant for v in op.results):
            return results
        operations = op.definition.price(op).flops.substitute(bindings).constant
        assert operations is not None, f"{op} has sizes that no input binds"
        if not operations:
            return results
        size = FLOAT32 + self._sums * math.sqrt(operations / max(1, sum(x.numel() for x in results)))
        return [self._disturbed(x, size) if x.is_floating_point() else x for x in results]

    def _disturbed(self, value: Tensor, size: float) -> Tensor:
        noise = torch.rand(value.shape, generator=self._generator, dtype=value.dtype)
        return value * (1 + size * (2 * noise - 1))


def _declared(value: Tensor, type: Type) -> Tensor:
    if isinstance(type, QuantizedType) or not value.is_floating_point():
        return value
    return value.to(torch_dtype(type.dtype))
