"""Kernels that TVM makes of tensor expressions: what has none of ours. And those that go along the tokens."""

from graphwright.backends.kernel_library import Kernel
from graphwright.backends.tvm.library.choices import LOOPS
from graphwright.backends.tvm.library.conditions import FLOATS, INTEGERS, NARROW, given_scale
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.cpu.memory import STORED, copy
from graphwright.ir.dialects.cpu.packed_caches import dequantize_packed, quantize_packed
from graphwright.ir.targets import Condition
from graphwright.ir.types import DType

RECURRENCE = "graphwright.backends.tvm.emit.recurrence"

ELEMENTWISE = (
    *(ops.add, ops.sub, ops.mul, ops.div, ops.remainder, ops.maximum, ops.minimum, ops.where, copy),
    *(ops.logical_and, ops.logical_or, ops.logical_not, ops.lt, ops.le, ops.gt, ops.ge, ops.eq, ops.ne),
    *(ops.neg, ops.abs, ops.exp, ops.log, ops.log1p, ops.sqrt, ops.rsqrt, ops.reciprocal, ops.sin, ops.cos),
    *(ops.tanh, ops.sigmoid, ops.erf, ops.floor),
)


def _loops(
    op: OpDef,
    module: str,
    function: str = "",
    dtypes: frozenset[DType] = STORED,
    condition: Condition | None = None,
    name: str = "",
) -> Kernel:
    """A kernel that is called as its op is, and so is the body, where no other name and function are given."""
    body = f"graphwright.backends.tvm.emit.{module}:emit_{function or op.name}"
    return Kernel(op, dtypes, condition, name=name or op.name, body=body, choices=LOOPS)


KERNELS = (
    *(_loops(op, "elementwise", "elementwise") for op in ELEMENTWISE),
    _loops(ops.pow, "elementwise", "elementwise", FLOATS),
    _loops(ops.pow, "elementwise", "integer_power", INTEGERS, name="integer_power"),
    _loops(ops.cast, "elementwise"),
    *(_loops(op, "codes") for op in (ops.quantize_tensor, ops.dequantize_tensor)),
    _loops(quantize_packed, "codes", "quantize_packed", name="quantize_packed"),
    _loops(dequantize_packed, "codes", "dequantize_packed", name="dequantize_packed"),
    _loops(
        ops.fake_quantize,
        "codes",
        "fake_quantize_by_scale",
        FLOATS,
        given_scale,
        "fake_quantize_by_scale",
    ),
    _loops(ops.fake_quantize, "codes", dtypes=FLOATS),
    *(_loops(op, "reduction") for op in (ops.sum, ops.mean, ops.var, ops.softmax)),
    *(_loops(op, "reduction", "greatest") for op in (ops.amax, ops.any)),
    *(_loops(op, "reduction", "least") for op in (ops.amin, ops.all)),
    *(_loops(op, "shape") for op in (ops.constant, ops.iota, ops.dim_value, ops.transpose, ops.expand, ops.slice)),
    *(_loops(op, "shape") for op in (ops.concat, ops.split, ops.split_heads, ops.merge_heads, ops.ring_positions)),
    *(_loops(op, "shape") for op in (ops.reshape, ops.bitcast)),
    *(_loops(op, "indexing") for op in (ops.take_tokens, ops.gather, ops.gather_elements, ops.scatter_elements)),
    *(_loops(op, "sorting") for op in (ops.topk, ops.sort_order)),
    # Those that carry a state along the tokens, and running sums.
    Kernel(ops.causal_conv, FLOATS, name="causal_conv", body=f"{RECURRENCE}:emit_causal_conv", choices=LOOPS),
    Kernel(ops.cumsum, STORED, name="cumsum", body=f"{RECURRENCE}:emit_cumsum", choices=LOOPS),
    Kernel(ops.running_sum, STORED, name="running_sum", body=f"{RECURRENCE}:emit_running_sum", choices=LOOPS),
    Kernel(ops.linear_recurrence, NARROW, name="linear_recurrence", body=f"{RECURRENCE}:emit_linear_recurrence"),
    Kernel(ops.weighted_mean, NARROW, name="weighted_mean", body=f"{RECURRENCE}:emit_weighted_mean"),
)
