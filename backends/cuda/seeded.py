"""Weights that are not stored but filled where they are loaded: those that are `seeded` numbers, as many as follow each
other in one weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from graphwright.backends.cuda.emit import Variant
from graphwright.backends.cuda.emit.emitter import TRITON_TYPES
from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.weights_file import PAGE, WeightsLayout, plan_weights
from graphwright.ir import ops
from graphwright.ir.storage import stored_bytes
from graphwright.ir.types import DType, TensorType
from graphwright.ir.weights import Applied, Weight, WeightExpression

BODY = "graphwright.backends.cuda.kernels.seeded:fill_seeded"


@dataclass(frozen=True)
class Fill:
    """So many numbers of a type from an offset on, in bytes, by the attributes of `seeded`."""

    offset: int
    count: int
    dtype: DType
    seed: int
    spread: float
    middle: float

    def variant(self, gpu: Gpu) -> Variant:
        """What writes them."""
        kind = TRITON_TYPES[self.dtype]
        constants = {
            "SPREAD": self.spread,
            "MIDDLE": self.middle,
            "BLOCK": self.block(gpu),
            "PDL": False,
        }
        return Variant(
            f"fill_seeded_{kind}_{self.spread!r}_{self.middle!r}",
            BODY,
            (("y", f"*{kind}"), ("COUNT", "i32"), ("SEED", "i32")),
            tuple(constants.items()),
            warps=4,
            stages=1,
            written=("y",),
        )

    @staticmethod
    def block(gpu: Gpu) -> int:
        """Numbers of one program."""
        return 1 << 16 if gpu.emulated else 1024


@dataclass(frozen=True)
class Weights:
    """What the weights file holds, and what is filled behind its end; offsets are those in the device's memory."""

    stored: list[Weight]
    layout: WeightsLayout
    seeded: list[Weight]
    fills: list[Fill]
    offsets: dict[str, int]
    bytes: int


def arranged(weights: Sequence[Weight]) -> Weights:
    """The weights in the given order, first those that are stored. Weights of one expression lie in one place."""
    seeded = [weight for weight in weights if _fills(weight.expression, 0) is not None]
    stored = [weight for weight in weights if weight not in seeded]
    layout = plan_weights(stored)
    offsets = {name: place.offset for name, place in layout.places.items()}
    places = dict[WeightExpression, int]()
    fills: list[Fill] = []
    end = layout.size
    for weight in seeded:
        if weight.expression not in places:
            places[weight.expression] = end = -(-end // PAGE) * PAGE
            fills += _fills(weight.expression, end) or []
            end += stored_bytes(weight)
        offsets[weight.name] = places[weight.expression]
    return Weights(stored, layout, seeded, fills, offsets, end)


def _fills(expression: WeightExpression, offset: int) -> list[Fill] | None:
    """What fills the expression from this offset on; None if it is anything but seeded numbers one after another."""
    if not isinstance(expression, Applied):
        return None
    type = expression.type
    assert isinstance(type, TensorType), "codes are not seeded numbers"
    if expression.definition is ops.seeded:
        seed, spread, middle = (expression.attribute(name, int, float) for name in ("seed", "spread", "middle"))
        return [Fill(offset, type.elements.evaluate({}), type.dtype, int(seed), spread, middle)]
    lie_together = expression.definition is ops.reshape or (
        expression.definition is ops.concat and expression.attribute("axis", int) in (0, -type.rank)
    )
    if not lie_together:
        return None
    found: list[Fill] = []
    for operand in cast("tuple[WeightExpression, ...]", expression.operands):
        inner = _fills(operand, offset)
        if inner is None:
            return None
        found += inner
        assert isinstance(operand.type, TensorType), "numbers are made of numbers"
        offset += operand.type.elements.evaluate({}) * operand.type.dtype.bits // 8
    return found
