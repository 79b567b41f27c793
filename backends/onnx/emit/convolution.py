"""Emission of convolutions."""

from __future__ import annotations

from graphwright.backends.onnx.emit.emitter import Emitter
from graphwright.backends.onnx.emit.table import Emission
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op


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
    ops.convolution: emit_convolution,
}
