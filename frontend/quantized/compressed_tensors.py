"""The format of compressed-tensors, as llm-compressor writes it.

`config_groups` say of the layers that `targets` name how weights and activations were rounded. A layer holds one of

    pack-quantized         weight_packed i32[out, in * b / 32], each code plus 2^(b-1), so that none is negative, one
                           after another from the lowest bits on; weight_shape i64[2]; of asymmetric ones
                           weight_zero_point i32[out * b / 32, groups], packed along the outputs likewise
    int-quantized          weight i8[out, in]; of asymmetric ones weight_zero_point i8
    float-quantized        weight f8e4m3[out, in]
    nvfp4-pack-quantized   weight_packed u8[out, in / 2] of e2m1, the even column in the lower half; weight_scale
                           f8e4m3, and weight_global_scale f32[1], by which the scales are divided
    mxfp4-pack-quantized   the same, with weight_scale u8, the exponent of a power of two plus 127

with weight_scale [out, groups], [out, 1] of a channel, [1] of the tensor, or one a block of rows and columns; and,
where columns were quantized in order of activation, weight_g_idx i32[in], the group of each column. A weight is
(code - zero point) * scale.

Source: github.com/vllm-project/compressed-tensors, src/compressed_tensors/compressors (pack_quantized/helpers.py,
naive_quantized/base.py, nvfp4/helpers.py, mxfp4/base.py) and quantization/quant_args.py.
"""

import re
from collections.abc import Collection
from typing import Any, ClassVar

from graphwright.frontend.quantized.block_fp8 import of_rows
from graphwright.frontend.quantized.compressed_schemes import Arguments, Scheme
from graphwright.frontend.quantized.expressions import (
    apply,
    by_groups,
    number,
    shifted,
    transposed,
    unpacked,
    unsigned,
)
from graphwright.frontend.quantized.layer import SCALES, Format, LayerTensors, QuantizedLayer, lengths
from graphwright.ir import Dim, DType, ops
from graphwright.ir.weights import Applied, WeightExpression

FORMATS = frozenset(
    {"pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "nvfp4-pack-quantized"}
    | {"mxfp4-pack-quantized", "mixed-precision"}
)


class CompressedTensors(Format):
    markers: ClassVar[frozenset[str]] = frozenset({"weight_packed", "weight_scale"})
    parts: ClassVar[frozenset[str]] = frozenset(
        {"weight", "weight_zero_point", "weight_shape", "weight_g_idx", "weight_global_scale"}
    )
    config_groups: dict[str, Scheme]
    format: str
    kv_cache_scheme: dict[str, Any] | None = None
    sparsity_config: dict[str, Any] | None = None

    def refusal(self) -> str | None:
        formats = [self.format, *(s.format for s in self.config_groups.values() if s.format is not None)]
        unknown = next((name for name in formats if name not in FORMATS), None)
        if unknown is not None:
            return f"compressed-tensors in the format '{unknown}'"
        if self.kv_cache_scheme:
            return "compressed-tensors with a rounded KV cache (kv_cache_scheme)"
        sparsity = (self.sparsity_config or {}).get("format", "dense")
        return None if sparsity == "dense" else f"compressed-tensors with weights left out ('{sparsity}')"

    def layer(self, tensors: LayerTensors) -> QuantizedLayer:
        scheme = self._scheme(tensors)
        if scheme.weights is None:
            raise tensors.unsupported("has quantized tensors, but its group in config_groups no 'weights'")
        if scheme.output_activations is not None:
            raise tensors.unsupported("rounds its outputs (output_activations), which is not read")
        weights, rounded = scheme.weights, scheme.input_activations
        weight = _float_weight(weights, tensors) if weights.type == "float" else _integer_weight(weights, tensors)
        if rounded is None:
            return QuantizedLayer(weight)
        rounding = rounded.rounding()
        if rounding is None:
            raise tensors.unsupported(
                f"rounds its inputs in a way that is not read ({rounded}): only dynamically, to signed 8 bits, "
                f"with a scale for each token or group of its elements"
            )
        return QuantizedLayer(weight, rounding)

    def _scheme(self, tensors: LayerTensors) -> Scheme:
        """The group that names the layer; before one that names it by a pattern, before one for all linear layers."""
        targets = [(target, scheme) for scheme in self.config_groups.values() for target in scheme.targets]
        by_name = [scheme for target, scheme in targets if target == tensors.name]
        by_pattern = [s for target, s in targets if target.startswith("re:") and re.match(target[3:], tensors.name)]
        by_class = [scheme for target, scheme in targets if target == "Linear"]
        for scheme in (*by_name, *by_pattern, *by_class):
            return scheme
        raise tensors.unsupported("has quantized tensors, but no group in config_groups targets it")


def _integer_weight(weights: Arguments, tensors: LayerTensors) -> WeightExpression:
    bits = weights.num_bits
    if bits not in (2, 3, 4, 8):
        raise tensors.unsupported(f"has weights of {bits} bits, which are not read")
    if "weight_packed" in tensors:
        rows, columns = _shape(tensors)
        packed = tensors.get("weight_packed", (DType.I32,), rows, -(-columns * bits // 32))
        codes = unpacked(packed, unsigned(bits), columns)
    else:
        stored = tensors.get("weight", (DType.I8,), None, None)
        rows, columns = lengths(stored)
        codes = shifted(stored, bits)
    if weights.symmetric:
        zero_points = number(1 << (bits - 1), unsigned(bits), rows, weights.groups(columns))
    else:
        zero_points = _zero_points(weights, tensors, rows, columns)
    index = tensors.get("weight_g_idx", (DType.I32, DType.I64), columns) if "weight_g_idx" in tensors else None
    scales = _of_groups(weights, tensors, "weight_scale", SCALES, rows, columns)
    return by_groups(codes, scales, zero_points, weights.group, index)


def _shape(tensors: LayerTensors) -> tuple[int, int]:
    """The shape that a packed weight had. These two numbers are read at once: without them padding is not told."""
    shape = tensors.get("weight_shape", (DType.I64, DType.I32), 2).evaluate()
    return int(shape[0]), int(shape[1])


def _zero_points(weights: Arguments, tensors: LayerTensors, rows: int, columns: int) -> WeightExpression:
    """u[rows, groups], moved up by half the range as the codes are."""
    type, bits = tensors.type("weight_zero_point"), weights.num_bits
    if type is not None and type.dtype is DType.I32:
        words = -(-rows * bits // 32)
        stored = tensors.get("weight_zero_point", (DType.I32,), words, weights.groups(columns))
        return transposed(unpacked(transposed(stored), unsigned(bits), rows))
    return shifted(_of_groups(weights, tensors, "weight_zero_point", (DType.I8,), rows, columns), bits)


def _of_groups(
    weights: Arguments, tensors: LayerTensors, part: str, dtypes: Collection[DType], rows: int, columns: int
) -> WeightExpression:
    """What is stored a group, channel, block or tensor, [rows, groups]."""
    groups = weights.groups(columns)
    match weights.kind:
        case "tensor":
            type = tensors.type(part)
            one = tensors.get(part, dtypes, *(() if type is not None and not type.rank else (1,)))
            single = apply(ops.reshape, one, shape=(Dim.of(1), Dim.of(1)))
            return apply(ops.expand, single, shape=(Dim.of(rows), Dim.of(1)))
        case "block":
            height = weights.block[0]
            return of_rows(tensors.get(part, dtypes, -(-rows // height), groups), height, rows)
        case _:
            return tensors.get(part, dtypes, rows, groups)


def _float_weight(weights: Arguments, tensors: LayerTensors) -> WeightExpression:
    if weights.num_bits == 8:
        stored = tensors.get("weight", (DType.F8E4M3,), None, None)
        scales = _of_groups(weights, tensors, "weight_scale", SCALES, *lengths(stored))
        return by_groups(stored, scales, None, weights.group, None)
    if weights.num_bits != 4:
        raise tensors.unsupported(f"has weights in floats of {weights.num_bits} bits, which are not read")
    packed = tensors.get("weight_packed", (DType.U8,), None, None)
    rows, columns = lengths(packed)[0], 2 * lengths(packed)[1]
    codes = apply(ops.unpack_bits, packed, to=DType.F4E2M1, length=columns)
    groups = weights.groups(columns)
    if "weight_global_scale" not in tensors:
        powers = tensors.get("weight_scale", (DType.U8,), rows, groups)
        return by_groups(codes, apply(ops.bitcast, powers, to=DType.F8E8M0), None, weights.group, None)
    scales = tensors.get("weight_scale", (DType.F8E4M3,), rows, groups)
    whole = apply(ops.reciprocal, tensors.get("weight_global_scale", (DType.F32,), 1))
    return Applied.of(
        ops.quantized, (codes, scales, None, apply(ops.reshape, whole, shape=())), {"group": weights.group}
    )
