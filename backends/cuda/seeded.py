"""Weights that are not stored but filled where they are loaded: those that are `seeded` numbers, as many as follow each
other in one weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard, cast

from graphwright.backends.cuda.emit import Variant
from graphwright.backends.cuda.emit.emitter import TRITON_TYPES
from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.weights_file import PAGE, WeightsLayout, plan_weights
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.ops.seeded import WHOLE
from graphwright.ir.storage import stored_bytes
from graphwright.ir.types import DType, TensorType
from graphwright.ir.weights import Applied, Weight, WeightExpression

KERNELS = "graphwright.backends.cuda.kernels.seeded"
PARTS = {
    ops.quantized_codes: "codes",
    ops.quantized_scales: "scales",
    ops.quantized_zero_points: "zero_points",
    ops.quantized_minimums: "minimums",
}
"""Ops that give back an operand of `quantized`."""


@dataclass(frozen=True)
class Fill:
    """So many numbers of a type from an offset on, in bytes, by the attributes of `seeded`. Two of 4 bits are a byte,
    and are counted as one."""

    offset: int
    count: int
    dtype: DType
    seed: int
    spread: float
    middle: float

    def variant(self, gpu: Gpu) -> Variant:
        """What writes them."""
        kind = TRITON_TYPES.get(self.dtype, "u8")
        constants = {
            "SPREAD": self.spread,
            "MIDDLE": self.middle,
            "BLOCK": self.block(gpu),
            "PDL": False,
        }
        kernel = "fill_seeded"
        if self.dtype in WHOLE:
            kernel, kind = "fill_codes", "u8"
            constants |= {"FLOAT": self.dtype.is_float, "PER": 8 // self.dtype.bits}
        return Variant(
            f"{kernel}_{self.dtype}_{self.spread!r}_{self.middle!r}",
            f"{KERNELS}:{kernel}",
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
    expression = _array(expression)
    type = expression.type
    if not isinstance(expression, Applied) or not isinstance(type, TensorType):
        return None
    if expression.definition is ops.seeded:
        return [_fill(expression, offset, type)]
    if expression.definition is ops.pack_bits:
        codes = _array(cast(WeightExpression, expression.operands[0]))
        if not _is(codes, ops.seeded) or expression.attribute("bits", int) != 4:
            return None
        assert isinstance(codes.type, TensorType)
        # Rows of an odd number of codes end with half a byte.
        return None if codes.type.shape[-1].evaluate({}) % 2 else [_fill(codes, offset, type)]
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
        assert isinstance(operand.type, TensorType), "seeded numbers are a tensor"
        offset += operand.type.elements.evaluate({}) * operand.type.dtype.bits // 8
    return found


def _is(expression: WeightExpression | None, definition: OpDef) -> TypeGuard[Applied]:
    return isinstance(expression, Applied) and expression.definition is definition


def _array(expression: WeightExpression) -> WeightExpression:
    """What stands for the expression where it is a part of a weight that was put together from parts."""
    if not isinstance(expression, Applied) or expression.definition not in PARTS:
        return expression
    whole = expression.operands[0]
    if not _is(whole, ops.quantized):
        return expression
    return whole.operands[ops.quantized.operand_index(PARTS[expression.definition])] or expression


def _fill(seeded: Applied, offset: int, stored: TensorType) -> Fill:
    """What fills seeded numbers that are stored as a tensor of that type."""
    seed, spread, middle = (seeded.attribute(name, int, float) for name in ("seed", "spread", "middle"))
    assert isinstance(seeded.type, TensorType)
    return Fill(offset, stored.elements.evaluate({}), seeded.type.dtype, int(seed), spread, middle)
