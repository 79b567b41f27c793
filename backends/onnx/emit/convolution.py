"""Emission of convolutions."""

from __future__ import annotations

from graphwright.backends.onnx.emit.emitter import Emitter
from graphwright.backends.onnx.emit.table import emits
from graphwright.ir import ops
from graphwright.ir.graph import Op
from graphwright.ir.ops.shape import as_ints


@emits(ops.convolution)
def emit_convolution(e: Emitter, op: Op) -> None:
    a = op.attributes
    e.results(
        op,
        "Conv",
        *e.operands(op),
        strides=as_ints(a["stride"]),
        pads=as_ints(a["padding"]),
        dilations=as_ints(a["dilation"]),
        group=a["groups"],
    )
