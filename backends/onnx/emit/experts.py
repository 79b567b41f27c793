"""Emission of mixtures of experts."""

import math

from onnx import GraphProto, TensorProto, helper

from graphwright.backends.onnx.element_types import ONNX_TYPES
from graphwright.backends.onnx.emit.emitter import MICROSOFT, Emission, Emitter
from graphwright.backends.onnx.emit.neural import activate
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.ort.experts import chosen_experts
from graphwright.ir.graph import Op
from graphwright.ir.types import DType


def emit_moe_experts(e: Emitter, op: Op) -> None:
    """A loop over the experts that were chosen: it reads their weights once each, and no others."""
    x, indices, weights, *_ = e.operands(op)
    types = {n: op.required(n).tensor for n in ("x", "indices", "down")}
    size, k, out = types["x"].shape[-1], types["indices"].shape[-1], types["down"].shape[1]
    tokens = e.node("Reshape", x, e.shape([-1, size]))
    chosen = e.node("Reshape", indices, e.integers(-1))
    # Pairs of a token and an expert, ordered by expert.
    order = e.fresh("order")
    e.outputs("TopK", [chosen, e.node("Shape", chosen)], [e.fresh("sorted"), order], axis=0, largest=0, sorted=1)
    hit, counts = e.fresh("hit"), e.fresh("counts")
    e.outputs("Unique", [chosen], [hit, "", "", counts], axis=0, sorted=1)
    stops = e.node("CumSum", counts, e.filled(0, DType.I64))
    starts = e.node("Sub", stops, counts)
    trips = e.node("Squeeze", e.node("Shape", hit))
    empty = e.node("SequenceEmpty", dtype=ONNX_TYPES[types["x"].dtype])
    body = _expert(e, op, tokens, e.node("Div", order, e.dim(k)), hit, starts, stops)
    parts = e.node("Loop", trips, "", empty, body=body)
    rows = e.node("ConcatFromSequence", parts, axis=0)
    back = e.fresh("back")
    e.outputs("TopK", [order, e.node("Shape", order)], [e.fresh("sorted"), back], axis=0, largest=0, sorted=1)
    results = e.node("Reshape", e.node("Gather", rows, back), e.shape([-1, k, out]))
    share = e.node("Reshape", weights, e.shape([-1, 1, k]))
    if op.required("weights").tensor.dtype is not types["x"].dtype:
        share = e.node("Cast", share, to=ONNX_TYPES[types["x"].dtype])
    summed = e.node("MatMul", share, results)
    leading = types["x"].shape[:-1]
    e.results(op, "Reshape", summed, e.shape([*leading, out] if len(leading) != 1 else [-1, out]))


def _expert(e: Emitter, op: Op, tokens: str, owners: str, hit: str, starts: str, stops: str) -> GraphProto:
    """The loop's body: the tokens of one expert go through it, and what comes out is added to the sequence."""
    _, _, _, gate_up, down, gate_up_bias, down_bias = e.operands(op)
    counter, condition, parts = (e.fresh(n) for n in ("counter", "condition", "parts"))
    kept, longer = e.fresh("kept"), e.fresh("longer")
    # Constants in the model file are seen from everywhere; dimensions have been computed outside by now.
    with e.body() as nodes:
        expert = e.node("Gather", hit, counter)
        column = e.integers(-1)
        start, stop = (e.node("Reshape", e.node("Gather", ends, counter), column) for ends in (starts, stops))
        x = e.node("Gather", tokens, e.node("Slice", owners, start, stop))

        def product(x: str, weight: str, bias: str) -> str:
            row = e.node("Gather", bias, expert) if bias else ""
            return e.node("Gemm", x, e.node("Gather", weight, expert), row, transB=1)

        inner = _units(e, op, product(x, gate_up, gate_up_bias))
        e.outputs("SequenceInsert", [parts, product(inner, down, down_bias)], [longer])
        e.outputs("Identity", [condition], [kept])
    element = helper.make_tensor_type_proto(ONNX_TYPES[op.required("x").tensor.dtype], None)
    sequence = helper.make_sequence_type_proto(element)
    return helper.make_graph(
        nodes,
        "expert",
        [
            helper.make_tensor_value_info(counter, TensorProto.INT64, []),
            helper.make_tensor_value_info(condition, TensorProto.BOOL, []),
            helper.make_value_info(parts, sequence),
        ],
        [helper.make_tensor_value_info(kept, TensorProto.BOOL, []), helper.make_value_info(longer, sequence)],
    )


def _units(e: Emitter, op: Op, h: str) -> str:
    """What stands between the two products, for rows [n, inner size or twice that]."""
    dtype = op.required("x").tensor.dtype
    alpha, limit, offset = (op.attribute(n, float) for n in ("alpha", "limit", "up_offset"))
    if not op.attribute("gated", bool):
        return _activated(e, h, op, alpha)
    gate, up = e.fresh("gate"), e.fresh("up")
    e.outputs("Split", [h], [gate, up], axis=1, num_outputs=2)
    if limit != math.inf:
        most, least = e.filled(limit, dtype), e.filled(-limit, dtype)
        gate, up = e.node("Min", gate, most), e.node("Clip", up, least, most)
    if offset != 0.0:
        up = e.node("Add", up, e.filled(offset, dtype))
    return e.node("Mul", _activated(e, gate, op, alpha), up)


def _activated(e: Emitter, x: str, op: Op, alpha: float) -> str:
    dtype = op.required("x").tensor.dtype
    if alpha != 1.0:
        return e.node("Mul", x, e.node("Sigmoid", e.node("Mul", x, e.filled(alpha, dtype))))
    node, inputs, attributes = activate(e, x, op.attribute("kind", str), dtype)
    return e.node(node, *inputs, domain="", **attributes)


def emit_chosen_experts(e: Emitter, op: Op) -> None:
    x, router, gate_up, down, gate_up_bias, down_bias = e.operands(op)
    gated, limit = op.attribute("gated", bool), op.attribute("limit", float)
    gate = {
        "swiglu_fusion": 1,
        "activation_alpha": op.attribute("alpha", float),
        "activation_beta": op.attribute("up_offset", float),
    }
    if limit != math.inf:
        gate["swiglu_limit"] = limit
    e.results(
        op,
        "MoE",
        x,
        router,
        gate_up,
        gate_up_bias,
        down,
        down_bias,
        domain=MICROSOFT,
        k=1,
        # The weight of the one expert is then 1, not its share of a softmax.
        normalize_routing_weights=1,
        activation_type="swiglu" if gated else MOE_ACTIVATIONS[op.attribute("kind", str)],
        **(gate if gated else {}),
    )


MOE_ACTIVATIONS = {"silu": "silu", "relu": "relu", "gelu_tanh": "gelu"}
"""The operator's names of activations without a gate; its gelu is the tanh form."""


EMISSIONS: dict[OpDef, Emission] = {
    ops.moe_experts: emit_moe_experts,
    chosen_experts: emit_chosen_experts,
}
