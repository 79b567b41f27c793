"""What the kernels of the CPU's dialect take: on which element types, and under which conditions, in words."""

from __future__ import annotations

from graphwright.ir.dialects.cpu.attention import fused_attention
from graphwright.ir.dialects.cpu.columns import gated_columns
from graphwright.ir.dialects.cpu.memory import copy
from graphwright.ir.dialects.cpu.norms import add_layer_norm, add_rms_norm
from graphwright.ir.dialects.cpu.quantized import rounded_linear
from graphwright.ir.dialects.cpu.rotary import rotary_append, rotary_embedding, rotary_table
from graphwright.ir.graph import Op
from graphwright.ir.targets import Capability, Target
from graphwright.ir.types import DType, QuantizedType

SINGLE = frozenset({DType.F32})
NARROW = frozenset({DType.F16, DType.BF16, DType.F32})
"""Types of what a kernel computes in float32, rounding its result."""

STORED = frozenset(
    {DType.BOOL, DType.I8, DType.U8, DType.I16, DType.I32, DType.I64, DType.F16, DType.BF16, DType.F32, DType.F64}
)
"""Types that a tensor of a step can have; others are codes of weights."""


def packable(type: QuantizedType) -> str | None:
    """Why no kernel reads a weight of that type in its codes; None where they do."""
    if type.rank != 2 or type.axis != -1 or any(length.constant is None for length in type.shape):
        return f"{type} is not a matrix grouped along its rows"
    if type.element.is_float and type.element is not DType.F4E2M1:
        return f"no kernel reads codes of {type.element}"
    step = codes_in_a_step(type)
    if type.group is not None and type.group % step:
        return f"groups of {type.group} are not made of steps of {step} codes"
    return None


def code_bits(type: QuantizedType) -> int:
    """How many bits a code has where a kernel reads it."""
    return 4 if type.element.is_integer and type.element.bits <= 4 else 8


def codes_in_a_step(type: QuantizedType) -> int:
    """Codes of a row that a kernel reads at once: 32 bits."""
    return 32 // code_bits(type)


def known_groups(op: Op) -> str | None:
    """Groups of weight and activations of which one is a multiple of the other, in whole steps."""
    weight, group = op.required("weight"), op.attribute("group", int)
    assert isinstance(weight.type, QuantizedType)
    if weight.weight is None:
        return "its weight is computed in the graph"
    problem = packable(weight.type)
    if problem is not None:
        return problem
    longer, shorter = max(weight.type.group or 0, group), min(weight.type.group or 0, group)
    if group % codes_in_a_step(weight.type) or (shorter and longer % shorter):
        return f"no kernel multiplies groups of {weight.type.group or 'a row'} by groups of {group or 'a token'}"
    return None


def single_numbers(op: Op) -> str | None:
    """Float32 throughout, but for codes and indices."""
    dtypes = [v.tensor.dtype for v in (*op.inputs, *op.results)]
    other = next((dtype for dtype in dtypes if dtype.is_float and dtype is not DType.F32), None)
    return None if other is None else f"{op.name} takes float32 alone, not {other}"


def known_states(op: Op) -> str | None:
    """Two caches, each changed in place."""
    if op.required("key_cache") is op.required("value_cache"):
        return "keys and values go into one cache"
    return single_numbers(op)


CPU = Target(
    "cpu",
    (
        Capability(add_rms_norm, SINGLE),
        Capability(add_layer_norm, SINGLE),
        Capability(gated_columns, SINGLE),
        Capability(rotary_table, frozenset({DType.I64})),
        Capability(rotary_embedding, NARROW),
        Capability(rotary_append, SINGLE, known_states),
        Capability(fused_attention, NARROW),
        Capability(rounded_linear, NARROW, known_groups, quantized=True),
        Capability(copy, STORED),
    ),
)
