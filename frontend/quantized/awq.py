"""The format of AWQ checkpoints, version `gemm`, as AutoAWQ writes it.

A layer of `in` inputs and `out` outputs holds, in 4 bits,

    qweight  i32[in, out / 8]      eight outputs of one input; from the lowest bits on they are 0 2 4 6 1 3 5 7
    qzeros   i32[groups, out / 8]  zero points, in the same order
    scales   f16[groups, out]

and stands for (code - zero) * scale.

Source: github.com/casper-hansen/AutoAWQ, awq/modules/linear/gemm.py (WQLinear_GEMM.from_linear: order_map).
"""

from typing import ClassVar, Literal

from pydantic import AliasChoices, Field

from graphwright.frontend.quantized.expressions import apply, by_groups, transposed, unpacked
from graphwright.frontend.quantized.layer import SCALES, Format, LayerTensors, QuantizedLayer, lengths
from graphwright.ir import Dim, DType, StoredFile, ops
from graphwright.ir.weights import WeightExpression


class AWQ(Format):
    markers: ClassVar[frozenset[str]] = frozenset({"qweight", "qzeros"})
    parts: ClassVar[frozenset[str]] = frozenset({"scales"})
    bits: Literal[4] = Field(4, validation_alias=AliasChoices("bits", "w_bit"))
    group_size: int = Field(128, ge=-1, validation_alias=AliasChoices("group_size", "q_group_size"))
    zero_point: bool = True
    version: str = Field("gemm", validation_alias=AliasChoices("version", "format"))

    def refusal(self) -> str | None:
        if not self.zero_point:
            return "AWQ without zero points (zero_point)"
        return None if self.version.lower() == "gemm" else f"AWQ of the version '{self.version}'"

    def layer(self, tensors: LayerTensors) -> QuantizedLayer:
        qweight = tensors.get("qweight", (DType.I32,), None, None)
        columns, words = lengths(qweight)
        group = 0 if self.group_size in (-1, 0) else self.group_size
        groups = -(-columns // group) if group else 1
        scales = tensors.get("scales", SCALES, groups, words * 8)
        zeros = tensors.get("qzeros", (DType.I32,), groups, words)
        codes, points = (transposed(_in_order(x)) for x in (qweight, zeros))
        return QuantizedLayer(by_groups(codes, transposed(scales), points, group, None))


def _in_order(stored: StoredFile) -> WeightExpression:
    """The codes [rows, n * 8] of words [rows, n]."""
    rows, words = lengths(stored)
    codes = unpacked(stored, DType.U4, words * 8)
    # The even ones of eight stand in front of the odd ones.
    halves = apply(ops.reshape, codes, shape=tuple(map(Dim.of, (rows, words, 2, 4))))
    pairs = apply(ops.transpose, halves, permutation=(0, 1, 3, 2))
    return apply(ops.reshape, pairs, shape=(Dim.of(rows), Dim.of(words * 8)))
