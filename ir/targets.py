"""Capability tables: what a target accepts, stated as data that lowering passes query and tests probe.

A target takes islands, not everything. Each row says: this op, on these element types, with this condition on
attributes and shapes. An op that fits no row is rewritten by a lowering pass, which keeps the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op
from graphwright.ir.types import DType, QuantizedType

Condition = Callable[[Op], "str | None"]
"""None if an op fits, else what is wrong, in words: `head size 8 is not a multiple of 16`."""


@dataclass(frozen=True)
class Capability:
    """One row: an op the target runs. `dtypes` are those of its first operand (or result, if it has none).

    Quantized weights are refused, unless `quantized` says that there is a condition on them.
    """

    op: OpDef
    dtypes: frozenset[DType]
    condition: Condition | None = None
    note: str = ""
    quantized: bool = False


@dataclass(frozen=True)
class Target:
    """A named table. An op may have several rows; it fits if it fits one."""

    name: str
    rows: tuple[Capability, ...]
    _index: dict[OpDef, list[Capability]] = field(
        init=False, repr=False, compare=False, default_factory=dict[OpDef, list[Capability]]
    )

    def __post_init__(self) -> None:
        for row in self.rows:
            self._index.setdefault(row.op, []).append(row)

    def refusal(self, op: Op) -> str | None:
        """Why the target does not take the op, or None if it does."""
        rows = self._index.get(op.definition)
        if not rows:
            return f"{self.name} has no {op.name}"
        codes = next((v.type for v in (*op.inputs, *op.results) if isinstance(v.type, QuantizedType)), None)
        if codes is not None and not any(row.quantized for row in rows):
            return f"{self.name} takes no {codes} in {op.name}"
        type = (op.inputs or op.results)[0].tensor
        reason = f"{self.name} takes no {type.dtype} in {op.name}"
        for row in rows:
            if type.dtype in row.dtypes:
                problem = row.condition(op) if row.condition is not None else None
                if problem is None:
                    return None
                reason = f"{self.name}: {problem}"
        return reason

    def accepts(self, definition: OpDef) -> bool:
        """Whether the table has the op at all."""
        return definition in self._index
