"""Applications of the backend's own ops, as `tests.ir.cases` has them for the IR's."""

from __future__ import annotations

from graphwright.ir import DType, QuantizedType, ops
from graphwright.ir.dialects.ort import operators, quantized
from graphwright.ir.dialects.ort.experts import chosen_experts
from graphwright.ir.dialects.ort.group_query import group_query_attention
from graphwright.ir.dialects.ort.packed_caches import dequantize_packed, quantize_packed
from graphwright.ir.dialects.ort.recurrence import linear_attention, stateful_conv
from tests.ir.cases import Case

CACHE = "state<contiguous f32[B, 2, 12, 16]>"
CODES = "state<contiguous i8[B, 2, 12, 16]>"
PACKED = "state<contiguous u8[B, 2, 12, 8]>"
LENGTHS = ("i32[B]", "i32[]", "i32[B]")
TABLE = "f32[12, 8]"
BYTES = {"codes": "256", "zero_points": "256"}
ROWS = {**BYTES, "indices": "7"}
INTEGERS = {"x": "256", "weight": "256", "zero_points": "256"}
GATHERS = (quantized.gather_block_quantized, quantized.gather_blocks)

DIALECT_CASES = [
    Case(
        operators.rotary_embedding,
        ("f32[B, S, 24]", "f32[12, 4]", "f32[12, 4]", "i64[B, S]"),
        {"heads": 3, "interleaved": False},
        {"positions": "12"},
    ),
    Case(
        operators.rotary_embedding,
        ("f32[B, 3, S, 10]", "f32[12, 3]", "f32[12, 3]", "i64[B, S]"),
        {"heads": 3, "interleaved": True},
        {"positions": "12"},
    ),
    Case(operators.as_cache, ("f32[B, 2, S, 8]",)),
    Case(operators.gather_ring, ("f32[B, 2, P, 8]", "i64[B, 2, S]"), below={"index": "P"}),
    Case(operators.masked_attention, ("f32[B, 4, S, 8]", "f32[B, 2, P, 8]", "f32[B, 2, P, 6]"), {"scale": 0.3}),
    Case(
        operators.masked_attention,
        ("f32[B, 4, S, 8]", "f32[B, 2, P, 8]", "f32[B, 2, P, 8]", "bool[B, 1, S, P]"),
        {"scale": 0.3, "softcap": 2.0},
    ),
    Case(
        operators.masked_attention,
        ("f32[B, 4, S, 8]", CACHE.replace("16", "8"), CACHE.replace("16", "8"), "f32[1, 4, S, 12]"),
        {"scale": 0.3},
    ),
    Case(operators.skip_rms_norm, ("f32[B, S, 16]", "f32[B, S, 16]", "f32[16]"), {"epsilon": 1e-5}),
    Case(operators.skip_layer_norm, ("f32[B, S, 16]", "f32[B, S, 16]", "f32[16]"), {"epsilon": 1e-5}),
    Case(operators.skip_layer_norm, ("f32[B, 16]", "f32[B, 16]", "f32[16]", "f32[16]"), {"epsilon": 1e-5}),
    Case(
        chosen_experts,
        ("f32[B, 16]", "f32[B, 5]", "f32[5, 24, 16]", "f32[5, 16, 12]"),
        {"kind": "silu", "gated": True},
    ),
    Case(
        chosen_experts,
        ("f32[B, 16]", "f32[B, 5]", "f32[5, 24, 16]", "f32[5, 16, 12]", "f32[5, 24]", "f32[5, 16]"),
        {"kind": "silu", "gated": True, "alpha": 1.702, "limit": 3.0, "up_offset": 1.0},
    ),
    *(
        Case(
            chosen_experts,
            ("f32[B, 16]", "f32[B, 5]", "f32[5, 12, 16]", "f32[5, 16, 12]", "f32[5, 12]"),
            {"kind": kind, "gated": False},
        )
        for kind in ("silu", "relu", "gelu_tanh")
    ),
    Case(operators.fused_matmul, ("f32[B, S, 16]", "f32[5, 16]")),
    Case(
        group_query_attention,
        ("f32[B, S, 128]", CACHE, CACHE, *LENGTHS, None, None, TABLE, TABLE),
        {"heads": 4, "scale": 0.25},
    ),
    Case(
        group_query_attention,
        ("f32[B, S, 64]", CACHE, CACHE, *LENGTHS, "f32[B, S, 32]", "f32[B, S, 32]", TABLE, TABLE, "f32[4]"),
        {"heads": 4, "scale": 0.3, "window": 3, "softcap": 2.0, "interleaved": True},
    ),
    Case(
        group_query_attention,
        ("f32[B, S, 64]", CACHE.replace("16", "8"), CACHE.replace("16", "8"), *LENGTHS),
        {"heads": 4, "scale": 0.3},
    ),
    Case(
        group_query_attention,
        ("f32[B, S, 64]", CACHE, CACHE, *LENGTHS[:2], None, "f32[B, S, 32]", "f32[B, S, 32]", TABLE, TABLE),
        {"heads": 4, "scale": 0.3, "window": 3},
    ),
    *(
        Case(
            group_query_attention,
            (query, cache, cache, *LENGTHS, *new, *tables, None, scale, scale),
            {"heads": 4, "scale": 0.3, "window": window},
        )
        for cache in (CODES, PACKED)
        for scale in ("f32[]", "f32[1, 2, 1, 16]")
        for query, new, tables, window in (
            ("f32[B, S, 128]", (None, None), (TABLE, TABLE), 0),
            ("f32[B, S, 64]", ("f32[B, S, 32]", "f32[B, S, 32]"), (None, None), 3),
        )
    ),
    Case(
        group_query_attention,
        ("f32[B, S, 128]", CODES, CODES, *LENGTHS, None, None, TABLE, TABLE, "f32[4]", "f32[]", "f32[]"),
        {"heads": 4, "scale": 0.3, "softcap": 2.0, "interleaved": True},
    ),
    *(Case(quantize_packed, ("f32[B, 2, S, 8]", scale)) for scale in ("f32[]", "f32[1, 2, 1, 8]", "f32[B, 2, S, 1]")),
    *(Case(dequantize_packed, ("u8[B, 2, S, 4]", scale)) for scale in ("f32[]", "f32[1, 2, 1, 8]", "f32[B, 2, S, 1]")),
    Case(dequantize_packed, ("u8[B, 2, S, 4]", "f32[]"), {"dtype": DType.F16}),
    Case(stateful_conv, ("f32[B, 4, S]", "f32[4, 1, 3]"), {"dilation": 2}),
    *(
        Case(
            quantized.matmul_nbits,
            ("f32[B, S, 40]", f"u8[6, 2, {4 * bits}]", "f32[6, 2]", f"u8[6, {-(-bits // 4)}]", "f32[6]"),
            {"bits": bits, "block": 32, "rounded": rounded},
            BYTES,
        )
        for bits in (2, 4, 8)
        for rounded in (False, True)
    ),
    Case(quantized.matmul_nbits, ("f32[B, 24]", "u8[6, 1, 128]", "f32[6, 1]"), {"bits": 4, "block": 256}, BYTES),
    *(
        Case(
            gather,
            ("u8[7, 24]", "i64[B, S]", "f32[7, 3]", "u8[7, 2]"),
            {"bits": 4, "block": 16},
            ROWS,
        )
        for gather in GATHERS
    ),
    *(
        Case(gather, ("u8[7, 16]", "i64[]", "f32[7, 1]"), {"bits": bits, "block": 128 // bits}, ROWS)
        for gather in GATHERS
        for bits in (2, 4, 8)
    ),
    Case(quantized.dequantize_linear, ("i8[40, 6]", "f32[2, 6]"), {"block": 32}),
    Case(quantized.dequantize_linear, ("u8[40, 6]", "f32[2, 6]", "u8[2, 6]"), {"block": 32}),
    Case(quantized.round_rows, ("f32[B, S, 40]",)),
    Case(quantized.matmul_integer, ("u8[B, S, 40]", "f32[B, S, 1]", "u8[40, 6]", "f32[6]"), {}, INTEGERS),
    Case(quantized.matmul_integer, ("u8[B, 40]", "f32[B, 1]", "u8[40, 6]", "f32[6]", "u8[6]"), {}, INTEGERS),
    Case(
        stateful_conv,
        ("f32[B, 4, S]", "f32[4, 1, 4]", "f32[4]", "state<recurrent f32[B, 4, 3]>", "i64[B]"),
        below={"new_length": "S+1"},
    ),
    Case(linear_attention, ("f32[B, S, 12]", "f32[B, S, 12]", "f32[B, S, 8]"), {"groups": 4, "heads": 4}),
    Case(
        linear_attention,
        (
            "f32[B, S, 6]",
            "f32[B, S, 6]",
            "f32[B, S, 8]",
            "f32[B, S, 4]",
            None,
            "state<recurrent f32[B, 4, 3, 2]>",
            "i64[B]",
        ),
        {"groups": 2, "heads": 4},
        {"new_length": "S+1"},
    ),
    Case(
        linear_attention,
        ("f32[B, S, 6]", "f32[B, S, 6]", "f32[B, S, 8]", "f32[B, S, 4]", "f32[B, S, 4]", None, "i64[B]"),
        {"groups": 2, "heads": 4},
        {"new_length": "S+1"},
    ),
    Case(
        linear_attention,
        ("f32[B, S, 12]", "f32[B, S, 12]", "f32[B, S, 8]", "f32[B, S, 12]", "f32[B, S, 4]"),
        {"groups": 4, "heads": 4},
    ),
    Case(
        linear_attention,
        ("f32[B, S, 12]", "f32[B, S, 12]", "f32[B, S, 8]", None, "f32[B, S, 4]"),
        {"groups": 4, "heads": 4},
    ),
]

_SWAPPED = {ops.constant: "dtype", ops.iota: "dtype"}


def with_dtype(case: Case, dtype: DType) -> Case | None:
    """The case with its element type (of the first operand or result) replaced throughout; None if it cannot be, as
    with quantized weights, which graphs hold only until they are lowered."""
    from graphwright.ir import IRTypeError

    attributes = dict(case.attributes)
    if case.op in _SWAPPED:
        attributes[_SWAPPED[case.op]] = dtype
        value = attributes.get("value")
        if isinstance(value, int | float):
            attributes["value"] = bool(value) if dtype is DType.BOOL else value if dtype.is_float else int(value)
        return Case(case.op, (), attributes, case.below)
    build = case.build()
    if any(isinstance(v.type, QuantizedType) for v in (*build.inputs, *build.results)):
        return None
    old = (build.inputs or build.results)[0].tensor.dtype
    operands = tuple(t.replace(f"{old}[", f"{dtype}[") if t is not None else None for t in case.operands)
    if old is DType.I64 and dtype is not old and any(o.name in case.below for o in case.op.operands):
        return None
    new = Case(case.op, operands, attributes, case.below)
    try:
        new.build()
    except IRTypeError:
        return None
    return new
