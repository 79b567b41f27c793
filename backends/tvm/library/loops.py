"""Kernels that TVM makes of tensor expressions: what has none of ours."""

from __future__ import annotations

from graphwright.backends.kernel_library import Kernel
from graphwright.backends.tvm.library.conditions import FLOATS, INTEGERS, given_scale
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.cpu.memory import STORED, copy

BODIES = "graphwright.backends.tvm.emit"

ELEMENTWISE = (
    *(ops.add, ops.sub, ops.mul, ops.div, ops.remainder, ops.maximum, ops.minimum, ops.where, copy),
    *(ops.logical_and, ops.logical_or, ops.logical_not, ops.lt, ops.le, ops.gt, ops.ge, ops.eq, ops.ne),
    *(ops.neg, ops.abs, ops.exp, ops.log, ops.log1p, ops.sqrt, ops.rsqrt, ops.reciprocal, ops.sin, ops.cos),
    *(ops.tanh, ops.sigmoid, ops.erf, ops.floor),
)


def _written_by(module: str, *definitions: OpDef) -> tuple[Kernel, ...]:
    """Kernels whose bodies have the names of their ops."""
    return tuple(Kernel(d, STORED, name=d.name, body=f"{BODIES}.{module}:emit_{d.name}") for d in definitions)


KERNELS = (
    *(Kernel(d, STORED, name=d.name, body=f"{BODIES}.elementwise:emit_elementwise") for d in ELEMENTWISE),
    Kernel(ops.pow, FLOATS, name="pow", body=f"{BODIES}.elementwise:emit_elementwise"),
    Kernel(ops.pow, INTEGERS, name="integer_power", body=f"{BODIES}.elementwise:emit_integer_power"),
    *_written_by("elementwise", ops.cast),
    *_written_by("codes", ops.quantize_tensor, ops.dequantize_tensor),
    Kernel(
        ops.fake_quantize,
        FLOATS,
        given_scale,
        name="fake_quantize_by_scale",
        body=f"{BODIES}.codes:emit_fake_quantize_by_scale",
    ),
    Kernel(ops.fake_quantize, FLOATS, name="fake_quantize", body=f"{BODIES}.codes:emit_fake_quantize"),
    *_written_by("reduction", ops.sum, ops.mean, ops.var, ops.softmax),
    *(Kernel(d, STORED, name=d.name, body=f"{BODIES}.reduction:emit_greatest") for d in (ops.amax, ops.any)),
    *(Kernel(d, STORED, name=d.name, body=f"{BODIES}.reduction:emit_least") for d in (ops.amin, ops.all)),
    *_written_by("shape", ops.constant, ops.iota, ops.dim_value, ops.reshape, ops.transpose, ops.expand, ops.slice),
    *_written_by("shape", ops.concat, ops.split, ops.split_heads, ops.merge_heads, ops.bitcast, ops.ring_positions),
    *_written_by("indexing", ops.take_tokens, ops.gather, ops.gather_elements, ops.scatter_elements),
    *_written_by("sorting", ops.topk, ops.sort_order),
)
