"""The format of GPTQ checkpoints, as AutoGPTQ and GPTQModel write it.

A layer of `in` inputs and `out` outputs in b bits holds

    qweight  i32[in * b / 32, out]      codes of a column, one after another from the lowest bits on
    qzeros   i32[groups, out * b / 32]  zero points, packed along the outputs
    scales   f16[groups, out]
    g_idx    i32[in]                    the group of each input

and stands for (code - zero) * scale. In the first format, `gptq`, zero points are stored less one: writer and reader
subtract and add one in every code of a word at once, here too, so that a borrow into the next code is undone. `gptq_v2`
stores them as they are. Symmetric layers (`sym`) have the zero point 2^(b-1), and fast kernels never read it: some
writers stored it unchanged in the first format too, where it would stand for one more. With `desc_act` columns were
quantized in order of activation, and g_idx is not sorted.

Source: github.com/ModelCloud/GPTQModel, gptqmodel/nn_modules/qlinear (pack_block, dequantize_weight) and
gptqmodel/utils/model.py (convert_gptq_v1_to_v2_format_module).
"""

from typing import Any, ClassVar, Literal

from pydantic import AliasChoices, Field

from graphwright.frontend.quantized.expressions import apply, by_groups, number, transposed, unpacked, unsigned
from graphwright.frontend.quantized.layer import SCALES, Format, LayerTensors, QuantizedLayer, lengths
from graphwright.ir import DType, StoredFile, notify, ops
from graphwright.ir.weights import WeightExpression


class GPTQ(Format):
    markers: ClassVar[frozenset[str]] = frozenset({"qweight", "qzeros", "g_idx"})
    parts: ClassVar[frozenset[str]] = frozenset({"scales"})
    bits: Literal[2, 3, 4, 8]
    group_size: int = Field(ge=-1)
    desc_act: bool = False
    sym: bool | None = None
    checkpoint_format: str = Field("gptq", validation_alias=AliasChoices("checkpoint_format", "format"))
    dynamic: dict[str, Any] | None = None

    def refusal(self) -> str | None:
        if self.checkpoint_format not in ("gptq", "gptq_v2"):
            return f"GPTQ in the format '{self.checkpoint_format}'"
        # Rules that begin with a minus only say which layers stayed as they were.
        changed = next((rule for rule in self.dynamic or {} if not rule.startswith("-:")), None)
        return None if changed is None else f"GPTQ with settings of its own for layers '{changed}'"

    def layer(self, tensors: LayerTensors) -> QuantizedLayer:
        qweight = tensors.get("qweight", (DType.I32,), None, None)
        words, rows = lengths(qweight)
        if words * 32 % self.bits:
            raise tensors.damaged("qweight", f"{words} words are not a whole number of codes of {self.bits} bits")
        columns = words * 32 // self.bits
        group = 0 if self.group_size in (-1, 0) else self.group_size
        groups = -(-columns // group) if group else 1
        scales = tensors.get("scales", SCALES, groups, rows)
        zeros = tensors.get("qzeros", (DType.I32,), groups, -(-rows * self.bits // 32))
        index = tensors.get("g_idx", (DType.I32, DType.I64), columns) if "g_idx" in tensors else None
        if index is None and self.desc_act:
            raise tensors.damaged("qweight", "with desc_act a 'g_idx' must say the group of each column")
        codes = unpacked(transposed(qweight), unsigned(self.bits), columns)
        points = transposed(self._zero_points(tensors, zeros, rows))
        return QuantizedLayer(by_groups(codes, transposed(scales), points, group, index))

    def _zero_points(self, tensors: LayerTensors, stored: StoredFile, count: int) -> WeightExpression:
        as_stored = unpacked(stored, unsigned(self.bits), count)
        meant = as_stored if self.checkpoint_format == "gptq_v2" else self._one_more(stored, count)
        if self.sym is False:
            return meant
        half = 1 << (self.bits - 1)
        if self.sym and _are_all(meant, half):
            return meant
        if meant is not as_stored and _are_all(as_stored, half):
            notify(
                f"{stored.path}: all zero points are stored as {half}, which in the format 'gptq' stands for "
                f"{half + 1}; they are read as {half}, that of symmetric layers"
            )
            return as_stored
        if self.sym:
            raise tensors.damaged("qzeros", f"it contradicts 'sym': symmetric layers have the zero point {half} alone")
        return meant

    def _one_more(self, stored: StoredFile, count: int) -> WeightExpression:
        to = unsigned(self.bits)
        if 32 % self.bits == 0:
            ones = sum(1 << shift for shift in range(0, 32, self.bits))
            return unpacked(apply(ops.add, stored, number(ones, DType.I32)), to, count)
        more = apply(ops.add, apply(ops.cast, unpacked(stored, to, count), dtype=DType.U8), number(1, DType.U8))
        return apply(ops.cast, apply(ops.remainder, more, number(1 << self.bits, DType.U8)), dtype=to)


def _are_all(codes: WeightExpression, value: int) -> bool:
    return bool((codes.evaluate() == value).all())
