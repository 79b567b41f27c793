"""The format `fp8` of DeepSeek and Qwen: e4m3 weights with a scale for each block of rows and columns.

A layer holds weight f8e4m3[out, in] and weight_scale_inv f32[out / rows, in / columns], blocks of 128 x 128 as a rule,
and stands for weight * weight_scale_inv. Its inputs are rounded when it runs, a scale for as many of a token's elements
as a block has columns.

Source: DeepSeek-V3 (arXiv 2412.19437), section 3.3, and its inference/kernel.py (weight_dequant, act_quant).
"""

from typing import ClassVar, Literal

from pydantic import PositiveInt

from graphwright.frontend.quantized.expressions import apply, by_groups
from graphwright.frontend.quantized.layer import SCALES, Format, LayerTensors, QuantizedLayer, Rounding, lengths
from graphwright.ir import Dim, DType, StoredFile, ops
from graphwright.ir.weights import WeightExpression


class BlockFP8(Format):
    markers: ClassVar[frozenset[str]] = frozenset({"weight_scale_inv"})
    parts: ClassVar[frozenset[str]] = frozenset({"weight"})
    weight_block_size: tuple[PositiveInt, PositiveInt] | None = None
    activation_scheme: Literal["dynamic", "static"] = "dynamic"

    def refusal(self) -> str | None:
        if self.weight_block_size is None:
            return "fp8 without weight_block_size"
        return None if self.activation_scheme == "dynamic" else "fp8 with stored scales of activations (static)"

    def layer(self, tensors: LayerTensors) -> QuantizedLayer:
        assert self.weight_block_size is not None
        weight = tensors.get("weight", (DType.F8E4M3,), None, None)
        rows, columns = lengths(weight)
        block = self.weight_block_size
        scales = tensors.get("weight_scale_inv", SCALES, -(-rows // block[0]), -(-columns // block[1]))
        quantized = by_groups(weight, of_rows(scales, block[0], rows), None, block[1], None)
        return QuantizedLayer(quantized, Rounding(DType.F8E4M3, block[1]))


def of_rows(scales: StoredFile, height: int, rows: int) -> WeightExpression:
    """Scales [blocks, groups] of blocks so many rows high as scales [rows, groups]."""
    blocks, groups = map(Dim.of, lengths(scales))
    single = apply(ops.reshape, scales, shape=(blocks, Dim.of(1), groups))
    spread = apply(ops.expand, single, shape=(blocks, Dim.of(height), groups))
    whole = apply(ops.reshape, spread, shape=(blocks * height, groups))
    return apply(ops.slice, whole, axis=0, start=Dim.of(0), stop=Dim.of(rows))
