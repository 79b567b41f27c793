"""Emission of elementwise ops, which TVM's operators of the same meaning compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphwright.backends.tvm.element_types import TVM_TYPES
from graphwright.backends.tvm.emit.emitter import Emitter
from graphwright.backends.tvm.emit.table import emits
from graphwright.backends.tvm.tvm_library import relax
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op
from graphwright.ir.types import DType

SAME: dict[OpDef, Callable[..., Any]] = {
    ops.add: relax.op.add,
    ops.sub: relax.op.subtract,
    ops.mul: relax.op.multiply,
    ops.div: relax.op.divide,
}
"""Ops and the operator that takes the same operands."""


def _same(operator: Callable[..., Any]) -> Callable[[Emitter, Op], None]:
    def emit(e: Emitter, op: Op) -> None:
        e.result(op, operator(*map(e.value, op.inputs)))

    return emit


for _definition, _operator in SAME.items():
    emits(_definition)(_same(_operator))


@emits(ops.cast)
def _(e: Emitter, op: Op) -> None:
    dtype = op.attributes["dtype"]
    assert isinstance(dtype, DType)
    e.result(op, relax.op.astype(e.value(op.inputs[0]), TVM_TYPES[dtype]))
