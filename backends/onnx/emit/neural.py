"""Emission of products, convolutions, norms, activations and gated units."""

from graphwright.backends.onnx.emit.emitter import MICROSOFT, Emission, Emitter, single_nodes
from graphwright.ir import ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.ort.operators import fused_matmul, skip_layer_norm, skip_rms_norm
from graphwright.ir.graph import Op
from graphwright.ir.lazy import torch
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import DType

NODES: dict[OpDef, str] = {ops.matmul: "MatMul"}
"""Ops that are one node with the same operands and no attributes."""


def emit_fused_matmul(e: Emitter, op: Op) -> None:
    e.results(op, "FusedMatMul", *e.operands(op), domain=MICROSOFT, transB=1)


def emit_linear(e: Emitter, op: Op) -> None:
    x, weight, bias = e.operands(op)
    type, rows = op.results[0].tensor, op.required("weight").tensor.shape[0]
    if type.rank == 2:
        e.results(op, "Gemm", x, weight, bias, transB=1)
        return
    flat = e.node("Gemm", e.node("Reshape", x, e.shape([-1, op.inputs[0].tensor.shape[-1]])), weight, bias, transB=1)
    leading = type.shape[:-1]
    e.results(op, "Reshape", flat, e.shape([*leading, rows] if len(leading) != 1 else [-1, rows]))


def emit_rms_norm(e: Emitter, op: Op) -> None:
    e.results(op, "RMSNormalization", *e.operands(op), axis=-1, epsilon=op.attribute("epsilon", float))


def emit_layer_norm(e: Emitter, op: Op) -> None:
    x, weight, bias = e.operands(op)
    if not weight:
        type = op.inputs[0].tensor
        weight = e.constant(torch.ones(type.shape[-1].evaluate({}), dtype=torch_dtype(type.dtype)), "ones")
    e.results(op, "LayerNormalization", x, weight, bias, axis=-1, epsilon=op.attribute("epsilon", float))


def emit_skip_rms_norm(e: Emitter, op: Op) -> None:
    normed, total = (e.name(v) for v in op.results)
    e.outputs(
        "SkipSimplifiedLayerNormalization",
        e.operands(op),
        [normed, "", "", total],
        MICROSOFT,
        epsilon=op.attribute("epsilon", float),
    )


def emit_skip_layer_norm(e: Emitter, op: Op) -> None:
    normed, total = (e.name(v) for v in op.results)
    e.outputs(
        "SkipLayerNormalization",
        e.operands(op),
        [normed, "", "", total],
        MICROSOFT,
        epsilon=op.attribute("epsilon", float),
    )


def activate(e: Emitter, x: str, kind: Attribute, dtype: DType) -> tuple[str, list[str], dict[str, str]]:
    """The last node of an activation: its kind, inputs and attributes."""
    match kind:
        case "silu":
            return "Mul", [x, e.node("Sigmoid", x)], {}
        case "quick_gelu":
            return "Mul", [x, e.node("Sigmoid", e.node("Mul", x, e.filled(1.702, dtype)))], {}
        case "gelu":
            return "Gelu", [x], {"approximate": "none"}
        case "gelu_tanh":
            return "Gelu", [x], {"approximate": "tanh"}
        case "relu":
            return "Relu", [x], {}
        case "sigmoid":
            return "Sigmoid", [x], {}
        case _:
            assert kind == "tanh", kind
            return "Tanh", [x], {}


def emit_activation(e: Emitter, op: Op) -> None:
    node, inputs, attributes = activate(e, e.operands(op)[0], op.attribute("kind", str), op.inputs[0].tensor.dtype)
    e.results(op, node, *inputs, domain="", **attributes)


def emit_glu(e: Emitter, op: Op) -> None:
    gate, up = e.operands(op)
    node, inputs, attributes = activate(e, gate, op.attribute("kind", str), op.inputs[0].tensor.dtype)
    e.results(op, "Mul", e.node(node, *inputs, domain="", **attributes), up)


def emit_softcap(e: Emitter, op: Op) -> None:
    (x,), cap = e.operands(op), op.attribute("cap", float)
    limit = e.filled(cap, op.inputs[0].tensor.dtype)
    e.results(op, "Mul", e.node("Tanh", e.node("Div", x, limit)), limit)


def emit_convolution(e: Emitter, op: Op) -> None:
    e.results(
        op,
        "Conv",
        *e.operands(op),
        strides=op.attribute("stride", tuple[int, ...]),
        pads=op.attribute("padding", tuple[int, ...]),
        dilations=op.attribute("dilation", tuple[int, ...]),
        group=op.attribute("groups", int),
    )


EMISSIONS: dict[OpDef, Emission] = {
    **single_nodes(NODES),
    fused_matmul: emit_fused_matmul,
    ops.linear: emit_linear,
    ops.rms_norm: emit_rms_norm,
    ops.layer_norm: emit_layer_norm,
    skip_rms_norm: emit_skip_rms_norm,
    skip_layer_norm: emit_skip_layer_norm,
    ops.activation: emit_activation,
    ops.glu: emit_glu,
    ops.softcap: emit_softcap,
    ops.convolution: emit_convolution,
}
