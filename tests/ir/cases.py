"""One or more applications of every declared op, on symbolic shapes. Several tests run over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from graphwright.ir import Dim, DType, Graph, Op, QuantizedType, StateType, ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.declare import OpDef
from graphwright.ir.rounding import quantize
from graphwright.ir.text import parse_type
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import CODE_TYPES


@dataclass(frozen=True)
class Case:
    """An op on operands of the given types (None: absent). `below` bounds the indices of i64 operands by name."""

    op: OpDef
    operands: tuple[str | None, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])
    below: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return f"{self.op.name}({', '.join(map(str, self.operands))}){self.attributes or ''}"

    def build(self) -> Op:
        graph = Graph()
        values = [
            None if text is None else graph.add_input(f"x{i}", parse_type(text)) for i, text in enumerate(self.operands)
        ]
        op = graph.insert(self.op, values, self.attributes)
        graph.outputs = {f"y{i}": value for i, value in enumerate(op.results)}
        return op

    def bound(self, index: int, bindings: Mapping[str, int]) -> int:
        """One more than the largest index that the operand may hold."""
        declared = self.op.operands
        name = declared[0 if self.op.variadic else index].name
        return Dim.of(self.below[name]).evaluate(bindings) if name in self.below else 5

    def sample(self, bindings: Mapping[str, int], generator: torch.Generator) -> list[Any]:
        """Random operands."""
        values: list[Any] = []
        for i, text in enumerate(self.operands):
            if text is None:
                values.append(None)
                continue
            type = parse_type(text)
            shape = [d.evaluate(bindings) for d in type.shape]
            values.append(
                random(type.tensor if isinstance(type, StateType) else type, shape, self.bound(i, bindings), generator)
            )
        return self.op.pad(values)


def random(type: Any, shape: list[int], below: int, generator: torch.Generator) -> Any:
    """A random tensor: positive integers from 1 where nothing bounds them, so that division is defined."""
    if isinstance(type, QuantizedType):
        return quantize(torch.randn(shape, generator=generator), type, "absmax")
    if type.dtype is DType.BOOL:
        return torch.rand(shape, generator=generator) < 0.7
    if type.dtype.is_integer:
        low = 1 if below == 5 else 0
        return torch.randint(low, below, shape, generator=generator).to(torch_dtype(type.dtype))
    return (torch.rand(shape, generator=generator, dtype=torch.float64) + 0.25).to(torch_dtype(type.dtype))


B, S, P = Dim.of("B"), Dim.of("S"), Dim.of("P")
X = "f32[B, S, 4]"
HEADS = "f32[B, 4, S, 8]"
KEYS = "f32[B, 2, P, 8]"
VALUES = "f32[B, 2, P, 6]"
ATTENTION: dict[str, Attribute] = {"scale": 0.3, "mask": "causal"}
CACHE = "state<contiguous f32[B, 2, 9, 8]>"

CHOICE, SHARES, GATED_EXPERTS = "i64[B, S, 2]", "f32[B, S, 2]", ("f32[5, 6, 4]", "f32[5, 4, 3]")
CHOSEN = {"indices": "5"}

BINARY = [ops.add, ops.sub, ops.mul, ops.div, ops.remainder, ops.pow, ops.maximum, ops.minimum]
COMPARISONS = [ops.lt, ops.le, ops.gt, ops.ge, ops.eq, ops.ne]
UNARY = [
    ops.neg, ops.abs, ops.exp, ops.log, ops.log1p, ops.sqrt, ops.rsqrt, ops.reciprocal, ops.sin, ops.cos, ops.tanh,
    ops.sigmoid, ops.erf, ops.floor,
]  # fmt: skip
REDUCTIONS = [ops.sum, ops.mean, ops.amax, ops.amin, ops.var]

CODES = sorted(CODE_TYPES, key=str)
PARTS = [ops.quantized_codes, ops.quantized_scales, ops.quantized_zero_points]

RECURRENT_STATE = "state<recurrent f32[B, 4, 3, 2]>"

CASES = [
    *(Case(each, (X, X)) for each in [*BINARY, *COMPARISONS]),
    *(Case(each, (X, "f32[S, 1]")) for each in [*BINARY, *COMPARISONS]),
    *(Case(each, ("f32[B, 1, 4]", "f32[S, 1]")) for each in BINARY),
    *(Case(each, ("i64[B, S]", "i64[S]")) for each in [*BINARY, *COMPARISONS]),
    *(Case(each, ("bool[B, S]", "bool[1, S]")) for each in [ops.logical_and, ops.logical_or, ops.add, ops.mul]),
    *(Case(each, (X,)) for each in UNARY),
    Case(ops.logical_not, ("bool[B, S]",)),
    Case(ops.cast, (X,), {"dtype": DType.BF16}),
    Case(ops.cast, ("bool[B, S]",), {"dtype": DType.F32}),
    Case(ops.where, ("bool[S, 1]", X, "f32[4]")),
    Case(ops.where, ("bool[B, S]", "i64[]", "i64[B, S]")),
    *(Case(each, (X,), {"axes": (1,)}) for each in REDUCTIONS),
    *(Case(each, (X,), {"axes": (-1, 0)}) for each in REDUCTIONS),
    *(Case(each, (X,), {"axes": (1,), "keepdims": True}) for each in REDUCTIONS),
    *(Case(each, ("bool[B, S, 3]",), {"axes": (0, 1)}) for each in [ops.any, ops.all, ops.sum]),
    Case(ops.softmax, (X,), {"axis": -1}),
    Case(ops.softmax, (X,), {"axis": 1}),
    Case(ops.cumsum, (X,), {"axis": 1}),
    Case(ops.cumsum, ("bool[B, S]",), {"axis": -1}),
    Case(ops.cumsum, ("i32[B, S]",), {"axis": 0}),
    Case(ops.linear, (X, "f32[7, 4]")),
    Case(ops.linear, (X, "f32[7, 4]", "f32[7]")),
    Case(ops.linear, ("bf16[S, 4]", "bf16[7, 4]", "bf16[7]")),
    Case(ops.linear, (X, "q4<g3, sym>[7, 4]", "f32[7]")),
    Case(ops.linear, (X, "q3<channel, asym, scale=f16>[7, 4]")),
    Case(ops.linear, (X, "q4<g3, min, scale=f16>[7, 4]")),
    Case(ops.matmul, ("f32[B, 2, S, 4]", "f32[B, 2, 4, P]")),
    Case(ops.matmul, ("f32[B, 1, S, 4]", "f32[2, 4, P]")),
    Case(ops.matmul, ("f32[S, 4]", "f32[B, 4, P]")),
    Case(
        ops.convolution,
        ("f32[B, 4, S]", "f32[6, 2, 3]", "f32[6]"),
        {"stride": (1,), "padding": (2, 0), "dilation": (1,), "groups": 2},
    ),
    Case(ops.convolution, ("f32[B, 4, S]", "f32[6, 4, 1]"), {"stride": (1,), "padding": (0, 0), "dilation": (1,)}),
    Case(
        ops.convolution,
        ("f32[B, 3, 3*S+2, 8]", "f32[6, 3, 2, 3]"),
        {"stride": (3, 2), "padding": (0, 1, 0, 2), "dilation": (1, 2)},
    ),
    Case(
        ops.seeded,
        (),
        {"seed": 7, "spread": 0.25, "middle": 1.0, "dtype": DType.BF16, "shape": (5, 3)},
    ),
    Case(ops.quantized, ("i4[7, 4]", "f16[7, 2]"), {"group": 3}),
    Case(ops.quantized, ("u8[7, 4]", "f32[1, 4]", "u8[1, 4]"), {"axis": 0}),
    Case(ops.quantized, ("f4e2m1[7, 4]", "f8e4m3[7, 2]", None, "f32[]"), {"group": 2}),
    Case(ops.quantized, ("u4[7, 4]", "f16[7, 2]", None, None, "f16[7, 2]"), {"group": 3}),
    Case(ops.round_to_nearest, ("f32[7, 4]",), {"to": DType.U4, "group": 3, "search": "mse", "minimum": True}),
    *(Case(ops.round_to_nearest, ("f32[7, 4]",), {"to": to, "group": 3, "search": "mse"}) for to in CODES),
    Case(ops.round_to_nearest, ("bf16[7, 4]",), {"to": DType.F4E2M1, "group": 2, "scale": DType.F8E8M0}),
    Case(
        ops.round_to_nearest,
        ("f32[7, 4]",),
        {"to": DType.F4E2M1, "group": 2, "scale": DType.F8E4M3, "tensor_scale": True},
    ),
    *(Case(each, ("q4<g3, asym>[7, 4]",)) for each in PARTS),
    Case(ops.quantized_minimums, ("q4<g3, min, scale=f16>[7, 4]",)),
    Case(ops.quantized_tensor_scale, ("qf4e2m1<g2, sym, scale=f8e4m3, tensor>[7, 4]",)),
    Case(ops.dequantize, ("q4<g3, asym, axis=-2>[7, 4]",), {"dtype": DType.BF16}),
    Case(ops.dequantize, ("qf4e2m1<g2, sym, scale=f8e4m3, tensor>[7, 4]",)),
    Case(ops.dequantize, ("qf8e4m3<channel, sym>[7, 4]",)),
    Case(ops.dequantize, ("q3<g3, min>[7, 4]",)),
    Case(ops.quantized_embedding, ("q4<g2, sym>[50, 4]", "i64[B, S]")),
    Case(ops.quantized_embedding, ("q4<g2, min, scale=f16>[50, 4]", "i64[B, S]")),
    Case(ops.quantized_embedding, ("qf8e4m3<g2, sym>[5, 4]", "i64[]"), {"dtype": DType.F16}),
    Case(ops.fake_quantize, (X,), {"to": DType.I8}),
    Case(ops.fake_quantize, (X, "f32[]"), {"to": DType.F8E4M3}),
    Case(ops.fake_quantize, ("bf16[S, 4]",), {"to": DType.F8E4M3, "group": 3}),
    Case(ops.quantize_tensor, ("f32[B, 2, S, 8]", "f32[1, 2, 1, 8]"), {"to": DType.I8}),
    Case(ops.quantize_tensor, ("f32[B, 2, S, 8]", "f32[]"), {"to": DType.I4}),
    Case(ops.quantize_tensor, ("bf16[B, S, 8]", "f32[B, S, 1]"), {"to": DType.F8E4M3}),
    Case(ops.dequantize_tensor, ("i8[B, 2, S, 8]", "f32[B, 2, S, 1]")),
    Case(ops.dequantize_tensor, ("i8[B, 2, S, 8]", "f32[]")),
    Case(ops.dequantize_tensor, ("u4[B, 2, S, 8]", "f16[1, 2, 1, 8]"), {"dtype": DType.BF16}),
    Case(ops.dequantize_tensor, ("f8e4m3[B, S]", "f32[]")),
    Case(ops.pack_bits, ("i4[B, 5]",), {"bits": 4}),
    Case(ops.pack_bits, ("u3[B, 5]",), {"bits": 3}),
    Case(ops.unpack_bits, ("u8[B, 3]",), {"to": DType.I4, "length": 5}),
    Case(ops.unpack_bits, ("u8[B, 2]",), {"to": DType.U3, "length": 5}),
    Case(ops.bitcast, ("i32[B, 3]",), {"to": DType.U8}),
    Case(ops.bitcast, ("u8[S, 4]",), {"to": DType.F8E8M0}),
    Case(ops.rms_norm, (X, "f32[4]"), {"epsilon": 1e-5}),
    Case(ops.layer_norm, (X,), {"epsilon": 1e-5}),
    Case(ops.layer_norm, (X, "f32[4]", "f32[4]"), {"epsilon": 1e-5}),
    Case(ops.layer_norm, (X, None, "f32[4]"), {"epsilon": 1e-5}),
    *(
        Case(ops.activation, (X,), {"kind": kind})
        for kind in ("silu", "gelu", "gelu_tanh", "quick_gelu", "relu", "sigmoid", "tanh")
    ),
    Case(ops.glu, (X, X), {"kind": "silu"}),
    Case(ops.softcap, (X,), {"cap": 3.0}),
    Case(ops.embedding, ("f32[11, 4]", "i64[B, S]"), below={"indices": "11"}),
    Case(ops.gather, (X, "i64[P, 2]"), {"axis": 1}, below={"indices": "S"}),
    Case(ops.gather, (X, "i64[]"), {"axis": -1}, below={"indices": "4"}),
    Case(ops.gather_elements, (X, "i64[B, P, 4]"), {"axis": 1}, below={"indices": "S"}),
    Case(ops.gather_elements, (X, "i64[B, S, 2]"), {"axis": -1}, below={"indices": "4"}),
    Case(ops.scatter_elements, (X, "i64[B, P, 4]", "f32[B, P, 4]"), {"axis": 1, "reduction": "add"}, {"indices": "S"}),
    Case(ops.scatter_elements, (X, "i64[B, S, 1]", "f32[B, S, 1]"), {"axis": -1}, {"indices": "4"}),
    Case(ops.topk, (X,), {"k": 2, "axis": -1}),
    Case(ops.topk, ("i64[B, 5, S]",), {"k": 3, "axis": 1, "largest": False}),
    Case(ops.sort_order, (X,)),
    Case(ops.sort_order, ("i32[B, 5]",)),
    Case(ops.take_tokens, (X, "i64[B, P]"), below={"positions": "S"}),
    Case(ops.moe_experts, (X, CHOICE, SHARES, *GATED_EXPERTS), {"kind": "silu", "gated": True}, CHOSEN),
    Case(
        ops.moe_experts,
        ("f32[S, 4]", "i64[S, 2]", "f32[S, 2]", *GATED_EXPERTS, "f32[5, 6]", "f32[5, 4]"),
        {"kind": "silu", "gated": True, "alpha": 1.7, "limit": 2.5, "up_offset": 1.0},
        CHOSEN,
    ),
    Case(ops.moe_experts, (X, CHOICE, SHARES, *GATED_EXPERTS), {"kind": "gelu_tanh", "gated": True}, CHOSEN),
    Case(ops.moe_experts, (X, CHOICE, SHARES, *GATED_EXPERTS), {"kind": "silu", "gated": True, "limit": 2.5}, CHOSEN),
    Case(
        ops.moe_experts,
        (X, CHOICE, SHARES, "f32[5, 3, 4]", "f32[5, 2, 3]", "f32[5, 3]", "f32[5, 2]"),
        {"kind": "relu", "gated": False},
        CHOSEN,
    ),
    Case(ops.constant, (), {"value": 2.5, "dtype": DType.F32, "shape": (B, 3)}),
    Case(ops.constant, (), {"value": True, "dtype": DType.BOOL}),
    Case(ops.iota, (), {"size": P + S, "dtype": DType.I64}),
    Case(ops.dim_value, (), {"value": B * S + 1}),
    Case(ops.reshape, (X,), {"shape": (B, S, 2, 2)}),
    Case(ops.reshape, (X,), {"shape": (B * S, 4)}),
    Case(ops.reshape, (X,), {"shape": (1, B, 1, S * 4)}),
    Case(ops.reshape, ("f32[B, 6, S]",), {"shape": (B, 2, 3, S)}),
    Case(ops.reshape, ("f32[B, 2, 3, S]",), {"shape": (2, B, 3, S)}),
    Case(ops.transpose, ("f32[B, S, 4, P]",), {"permutation": (2, 0, 3, 1)}),
    Case(ops.expand, ("f32[S, 1]",), {"shape": (B, S, 4)}),
    Case(ops.slice, (X,), {"axis": -1, "start": 1, "stop": 3}),
    Case(ops.slice, (X,), {"axis": 1, "start": -1}),
    Case(ops.slice, (X,), {"axis": 2, "start": 0, "stop": -1, "step": 2}),
    Case(ops.slice, ("f32[P+S, 4]",), {"axis": 0, "start": P}),
    Case(ops.concat, (X, "f32[B, P, 4]", X), {"axis": 1}),
    Case(ops.concat, ("f32[B, 4]",), {"axis": -1}),
    Case(ops.split, (X,), {"axis": -1, "sizes": (1, 3)}),
    Case(ops.split_heads, ("f32[B, S, 8]",), {"heads": 2}),
    Case(ops.merge_heads, ("f32[B, 2, S, 4]",)),
    Case(ops.attention, (HEADS, KEYS, VALUES, "i64[B, S]"), ATTENTION, {"positions": "P"}),
    Case(ops.attention, (HEADS, KEYS, VALUES, "i64[1, S]"), {"scale": 1.0, "mask": "full", "softcap": 2.0}),
    Case(
        ops.attention,
        (HEADS, CACHE, CACHE, "i64[B, S]", "i64[B]", "f32[B, 1, S, 9]", "f32[4]"),
        {"scale": 0.5, "mask": "sliding", "window": 3},
        {"positions": "9", "key_length": "9"},
    ),
    Case(
        ops.attention,
        (HEADS, KEYS, VALUES, "i64[B, S]", None, "bool[S, P]"),
        {"scale": 0.5, "mask": "chunked", "window": 4},
        {"positions": "P"},
    ),
    Case(
        ops.attention,
        (HEADS, KEYS, VALUES, "i64[B, S]", None, "f32[4, 1, P]"),
        {"scale": 0.5, "mask": "prefix", "window": 2},
        {"positions": "P"},
    ),
    Case(
        ops.attention,
        (HEADS, KEYS, VALUES, "i64[B, S]", None, None, None, "i64[B, P]"),
        {"scale": 0.5, "mask": "sliding", "window": 3},
        {"positions": "P", "key_positions": "P"},
    ),
    Case(
        ops.attention,
        (HEADS, KEYS, VALUES, "i64[1, S]", None, None, "f32[4]", "i64[1, P]"),
        {"scale": 0.5, "mask": "causal"},
        {"positions": "P", "key_positions": "P"},
    ),
    Case(ops.rope, (HEADS, "i64[B, S]", "f32[4]"), {"interleaved": False}),
    Case(ops.rope, (HEADS, "i64[1, S]", "f32[3]"), {"interleaved": True, "scale": 1.5}),
    Case(ops.causal_conv, ("f32[B, 4, S]", "f32[4, 1, 3]"), {"groups": 4}),
    Case(
        ops.causal_conv,
        ("f32[B, 4, S]", "f32[4, 1, 3]", "f32[4]", "state<recurrent f32[B, 4, 2]>", "i64[B]"),
        {"groups": 4},
        {"new_length": "S+1"},
    ),
    Case(
        ops.causal_conv,
        ("f32[B, 4, S]", "f32[6, 2, 3]", "f32[6]", "state<recurrent f32[B, 4, 4]>"),
        {"groups": 2, "dilation": 2},
    ),
    Case(ops.running_sum, (X,), {"axis": 1}),
    Case(
        ops.running_sum,
        ("f32[B, 4, S]", "state<recurrent f32[B, 4]>", "i64[B]"),
        {"axis": -1},
        {"new_length": "S+1"},
    ),
    Case(ops.running_sum, ("i64[B, S]", None, "i64[B]"), {"axis": 1}, {"new_length": "S+1"}),
    Case(ops.linear_recurrence, ("f32[B, 4, S, 3]", "f32[B, 4, S, 3]", "f32[B, 4, S, 2]")),
    Case(
        ops.linear_recurrence,
        (
            "f32[B, 2, S, 3]",
            "f32[B, 2, S, 3]",
            "f32[B, 4, S, 2]",
            "f32[B, 4, S, 1]",
            "f32[4, 3]",
            None,
            RECURRENT_STATE,
            "i64[B]",
        ),
        {},
        {"new_length": "S+1"},
    ),
    Case(
        ops.linear_recurrence,
        (
            "f32[B, 4, S, 3]",
            "f32[B, 4, S, 3]",
            "f32[B, 4, S, 2]",
            "f32[B, 4, S, 3]",
            None,
            "f32[B, 4, S]",
            RECURRENT_STATE,
        ),
    ),
    Case(
        ops.linear_recurrence,
        ("f32[B, 1, S, 3]", "f32[B, 1, S, 3]", "f32[B, 4, S, 1]", "f32[B, 4, S, 1]", "f32[4, 3]"),
    ),
    Case(
        ops.linear_recurrence,
        (
            "f32[B, 2, S, 3]",
            "f32[B, 2, S, 3]",
            "f32[B, 4, S, 2]",
            "f32[B, 4, S, 1]",
            None,
            "f32[B, 4, S]",
            None,
            "i64[B]",
        ),
        {},
        {"new_length": "S+1"},
    ),
    Case(ops.weighted_mean, (X, X, "f32[4]", "f32[4]")),
    Case(
        ops.weighted_mean,
        (X, X, "f32[4]", "f32[4]", "state<recurrent f32[B, 3, 4]>", "i64[B]"),
        {},
        {"new_length": "S+1"},
    ),
    Case(ops.kv_read, (CACHE,)),
    Case(ops.kv_append, (CACHE, "f32[B, 2, S, 8]", "i64[B]"), below={"past_length": "4"}),
    Case(
        ops.kv_append,
        ("state<ring f32[B, 2, 3, 8]>", "f32[B, 2, S, 8]", "i64[B]", "i64[B]"),
        below={"past_length": "9", "new_length": "S+1"},
    ),
    *(
        Case(
            ops.kv_append,
            (f"state<ring {codes}[B, 2, 3, 8]>", f"{codes}[B, 2, S, 8]", "i64[B]", "i64[B]"),
            below={"past_length": "9", "new_length": "S+1"},
        )
        for codes in ("i8", "u4")
    ),
    Case(
        ops.kv_append,
        ("state<contiguous i4[B, 2, 9, 8]>", "i4[B, 2, S, 8]", "i64[B]"),
        below={"past_length": "4"},
    ),
    Case(ops.kv_read, ("state<contiguous i4[B, 2, 9, 8]>",)),
    Case(ops.ring_positions, ("i64[B]",), {"capacity": 3}, {"length": "9"}),
]
