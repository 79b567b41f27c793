"""Which ops kernels of this backend take: element types, and conditions in words."""

from graphwright.backends.tvm.library.layouts import PANEL
from graphwright.ir import ops
from graphwright.ir.dialects.cpu.bf16 import bf16_linear, narrow_form
from graphwright.ir.dialects.cpu.packed_weights import codes_in_a_step, packable
from graphwright.ir.graph import Op
from graphwright.ir.types import DType, QuantizedType

SINGLE = frozenset({DType.F32})
DOUBLE = frozenset({DType.F64})
NARROW = frozenset({DType.F16, DType.BF16, DType.F32})
"""Types of what a kernel computes in float32, rounding its result."""
FLOATS = NARROW | DOUBLE
INTEGERS = frozenset({DType.I8, DType.U8, DType.I16, DType.I32, DType.I64})


def single_numbers(op: Op) -> str | None:
    """Float32 throughout, but for codes and indices."""
    dtypes = [v.tensor.dtype for v in (*op.inputs, *op.results)]
    other = next((dtype for dtype in dtypes if dtype.is_float and dtype is not DType.F32), None)
    return None if other is None else f"{op.name} takes float32 alone, not {other}"


def known_states(op: Op) -> str | None:
    """Two caches, each changed in place, of float32, f16 or codes, beside float32 in all the rest."""
    caches = [op.required(name) for name in ("key_cache", "value_cache")]
    if caches[0] is caches[1]:
        return "keys and values go into one cache"
    dtypes = {v.tensor.dtype for v in (op.required("packed"), op.results[0])}
    dtypes |= {v.tensor.dtype for v in caches} - {DType.F16}
    other = next((dtype for dtype in sorted(dtypes, key=str) if dtype.is_float and dtype is not DType.F32), None)
    return None if other is None else f"{op.name} takes float32, and caches of f16 or codes, not {other}"


def fixed_rows(op: Op) -> str | None:
    """Rows of a known length."""
    type = op.result.type
    if not type.shape:
        return f"{type} has no rows"
    return None if type.shape[-1].constant is not None else f"the last axis of {type} has no fixed length"


def stored_weight(op: Op) -> str | None:
    """A weight whose arrays are laid out when the weights file is written."""
    return None if op.required("weight").weight is not None else "its weight is computed in the graph"


def stored_codes(op: Op) -> str | None:
    """A weight of codes that kernels read."""
    weight = op.required("weight").type
    assert isinstance(weight, QuantizedType)
    return stored_weight(op) or packable(weight)


def stored_experts(op: Op) -> str | None:
    """Stored weights of experts, whose rows fill whole panels."""
    for name in ("gate_up", "down"):
        if op.required(name).weight is None:
            return "its experts are computed in the graph"
    for rows, what in ((op.required("down").type.shape[2], "inner"), (op.required("down").type.shape[1], "outer")):
        if rows.evaluate({}) % PANEL:
            return f"experts of {what} size {rows}, which is no multiple of {PANEL}"
    return None


def stored_expert_codes(op: Op) -> str | None:
    """Stored experts in codes that kernels read, without minimums."""
    problem = stored_experts(op)
    for name in ("gate_up", "down"):
        type = op.required(name).type
        if not isinstance(type, QuantizedType):
            return f"{name} is {type}, and the other one codes"
        problem = problem or packable(type)
        if type.minimum:
            return f"no kernel multiplies experts by the minimums of {type}"
    return problem


def known_groups(op: Op) -> str | None:
    """Groups of weight and activations of which one is a multiple of the other, in whole steps."""
    weight, group = op.required("weight").type, op.attribute("group", int)
    assert isinstance(weight, QuantizedType)
    problem = stored_codes(op)
    if problem is not None:
        return problem
    longer, shorter = max(weight.group or 0, group), min(weight.group or 0, group)
    if group % codes_in_a_step(weight) or (shorter and longer % shorter):
        return f"no kernel multiplies groups of {weight.group or 'a row'} by groups of {group or 'a token'}"
    return None


def stored_rows(op: Op) -> str | None:
    """Rows of a stored table, as float32."""
    dtype = op.result.tensor.dtype
    return stored_weight(op) or (None if dtype is DType.F32 else f"its rows become {dtype}")


def multiplied_table(op: Op) -> str | None:
    """A table that is multiplied too: it is stored once, as the product reads it."""
    tied = any(user.definition is ops.linear for user, _ in op.required("weight").uses)
    return stored_rows(op) or (None if tied else "no product reads its table")


def rounded_table(op: Op) -> str | None:
    """A table of bf16 numbers that is multiplied in pairs of them too: it is stored once, as the product reads it."""
    problem, table = stored_rows(op), op.required("weight")
    if problem is not None or table.weight is None:
        return problem
    if not any(user.definition is bf16_linear for user, _ in table.uses):
        return "no product reads its table in pairs"
    return None if narrow_form(table.weight.expression) is not None else "its table holds more than bf16 numbers"


def given_scale(op: Op) -> str | None:
    """Rounding by a scale that is an operand."""
    return None if op.operand("scale") is not None else "it has no scale"
