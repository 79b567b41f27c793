"""Which ops the kernels in Triton take, in words; what they refuse the tail takes."""

from __future__ import annotations

from graphwright.backends.cuda.library.layouts import unreadable
from graphwright.backends.plan.plan import shown_weights
from graphwright.ir.convention import NEW_LENGTH
from graphwright.ir.dims import Dim, product
from graphwright.ir.graph import Op, Value
from graphwright.ir.ops.rules import ONE
from graphwright.ir.types import DType, StateType

FLOATS = frozenset({DType.F16, DType.BF16, DType.F32})
LONGEST_ROW = 1 << 16
"""Numbers of a row that one block of threads holds."""
MOST_KEYS = 256
"""Keys of a recurrence of which the registers of a block of threads hold a few columns."""
LARGEST_HEAD = 256
"""Numbers of a head of which a tile of sums fits registers without a spill, as tiles of keys fit shared memory."""


def fixed_rows(op: Op) -> str | None:
    """Rows of the last axis, of a known length that a block holds."""
    size = op.result.type.shape[-1].constant if op.result.type.shape else None
    if size is None:
        return f"the last axis of {op.result.type} has no fixed length"
    return None if size <= LONGEST_ROW else f"a row of {size} numbers is too long for a block of threads"


def norm_of_rows(op: Op) -> str | None:
    """Rows, and numbers for them that no launch writes: they are read before those in front have ended."""
    computed = next((o.name for o in op.definition.operands[1:] if _is_computed(op.operand(o.name))), None)
    return fixed_rows(op) if computed is None else f"its {computed} is computed in the graph"


def softmax_of_rows(op: Op) -> str | None:
    """Along the last axis."""
    rank = op.result.type.rank
    axis = op.attribute("axis", int)
    return fixed_rows(op) if axis % rank == rank - 1 else f"it goes along axis {axis} of {rank}"


def stored_matrix(op: Op) -> str | None:
    """A weight that no launch writes: it is read before those in front have ended."""
    return "its weight is computed in the graph" if _is_computed(op.operand("weight")) else None


def _is_computed(value: Value | None) -> bool:
    return value is not None and not shown_weights(value)


def rows_of_tokens(op: Op) -> str | None:
    """Tokens that are rows of numbers."""
    rank = op.required("x").type.rank
    return fixed_rows(op) if rank == 3 else f"its tokens have {rank - 2} axes"


def to_floats(op: Op) -> str | None:
    dtype = op.result.tensor.dtype
    return None if dtype in FLOATS else f"its result is {dtype}"


def rounded_groups(op: Op) -> str | None:
    """Rows that a block holds, of which each group gets the scale of its largest number, in 8 bits."""
    if op.operand("scale") is not None or op.attributes["to"] is not DType.I8:
        return "its kernel finds the scales of codes i8 itself"
    return fixed_rows(op)


def sum_of_rows(op: Op) -> str | None:
    """A sum in at most two axes, of which one operand may lack either."""
    shape = op.result.type.shape
    if len(shape) > 2:
        return f"its result has {len(shape)} axes"
    columns = shape[-1] if shape else Dim.of(1)
    rows = product(shape[:-1])
    for value in op.inputs:
        own = (ONE,) * (2 - value.type.rank) + value.type.shape
        if own[0] not in (rows, ONE) or own[1] not in (columns, ONE):
            return f"its kernel does not add {value.type} to {op.result.type}"
    return None


def merged_heads(op: Op) -> str | None:
    """Heads of fixed sizes that are put side by side."""
    return known_heads(op) if op.attributes["merged"] else "its heads are not put side by side"


def known_heads(op: Op) -> str | None:
    """Heads of fixed sizes, of which tiles fit the registers of a block."""
    q, v = op.required("q").type, op.required("v").type
    sizes = (q.shape[1], q.shape[3], v.shape[1], v.shape[3])
    unknown = next((size for size in sizes if size.constant is None), None)
    if unknown is not None:
        return f"a size of its heads is {unknown}, no fixed number"
    largest = max(size.evaluate({}) for size in (q.shape[3], v.shape[3]))
    return None if largest <= LARGEST_HEAD else f"heads of {largest} numbers: its kernels take at most {LARGEST_HEAD}"


def contiguous_caches(op: Op) -> str | None:
    """Caches of which a token's place is its position."""
    if op.operand(NEW_LENGTH) is not None:
        return f"its kernel takes no {NEW_LENGTH}"
    caches = [op.required(name).type for name in ("key_cache", "value_cache")]
    other = next((t for t in caches if not isinstance(t, StateType) or t.layout != "contiguous"), None)
    return None if other is None else f"a cache is {other}, not a contiguous one"


def stored_codes(op: Op) -> str | None:
    """A stored weight of codes that kernels read."""
    weight = op.required("weight")
    return "its weight is computed in the graph" if weight.weight is None else unreadable(weight.type)


def known_experts(op: Op) -> str | None:
    """Experts of fixed sizes, and shares that a kernel reads."""
    share = op.required("weights").tensor.dtype
    if share not in FLOATS:
        return f"the shares are {share}"
    sizes = [*op.required("gate_up").type.shape, *op.required("down").type.shape, op.required("indices").type.shape[-1]]
    unknown = next((size for size in sizes if size.constant is None), None)
    return None if unknown is None else f"a size of its experts is {unknown}, no fixed number"


def known_channels(op: Op) -> str | None:
    """A convolution of each channel by itself."""
    x, weight = op.required("x").type, op.required("weight").type
    if x.shape[1].constant is None:
        return f"it has {x.shape[1]} channels, no fixed number"
    if weight.shape[1] is not ONE or weight.shape[0] is not x.shape[1]:
        return f"its kernel takes each channel by itself, its weight is {weight}"
    return None


def known_states(op: Op) -> str | None:
    """States of fixed sizes that registers hold."""
    sizes = (*op.results[1].type.shape[1:], op.required("k").type.shape[1])
    unknown = next((size for size in sizes if size.constant is None), None)
    if unknown is not None:
        return f"a size of its state is {unknown}, no fixed number"
    keys = op.required("k").type.shape[3].constant
    assert keys is not None
    return None if keys <= MOST_KEYS else f"a state of {keys} keys a value is more than registers hold"


def mean_of_channels(op: Op) -> str | None:
    """Channels of a fixed number."""
    channels = op.required("key").type.shape[2]
    return None if channels.constant is not None else f"it has {channels} channels, no fixed number"
