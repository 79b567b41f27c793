"""Capability tables: what a target accepts, stated as data that lowering passes query and tests probe.

A target takes islands, not everything. Each row says: this op, on these element types, with this condition on
attributes and shapes. An op that fits no row is rewritten by a lowering pass, which keeps the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op
from graphwright.ir.types import DType, QuantizedType

Condition = Callable[[Op], "str | None"]
"""None if an op fits, else what is wrong, in words: `head size 8 is not a multiple of 16`."""


@dataclass(frozen=True)
class Capability:
    """One row: an op the target runs. `dtypes` are those of its first tensor: an operand, or a result if it has none.

    A row takes weights of codes if it is `quantized`, and weights of numbers if it is not. `since` is the first release
    of the target's runtime that has it.
    """

    op: OpDef
    dtypes: frozenset[DType]
    condition: Condition | None = None
    quantized: bool = False
    since: tuple[int, ...] = ()


@dataclass(frozen=True)
class Target:
    """A named table. An op may have several rows; it fits if it fits one.

    `release` is that of the runtime that is to run what is compiled; rows that came later are not for it.
    """

    name: str
    rows: tuple[Capability, ...]
    release: tuple[int, ...] = ()
    _index: dict[OpDef, list[Capability]] = field(
        init=False, repr=False, compare=False, default_factory=dict[OpDef, list[Capability]]
    )

    def __post_init__(self) -> None:
        for row in self.rows:
            self._index.setdefault(row.op, []).append(row)

    def row_for(self, op: Op) -> Capability | None:
        """The first row that the op fits, None if it fits none."""
        return self._search(op)[0]

    def refusal(self, op: Op) -> str | None:
        """Why the target does not take the op, or None if it does."""
        row, reason = self._search(op)
        return reason if row is None else None

    def accepts(self, definition: OpDef) -> bool:
        """Whether the table has the op at all."""
        return definition in self._index

    def _search(self, op: Op) -> tuple[Capability | None, str]:
        """The first row that the op fits; else what the last row says whose types it fits best."""
        rows = self._index.get(op.definition)
        if not rows:
            return None, f"{self.name} has no {op.name}"
        codes = next((v.type for v in (*op.inputs, *op.results) if isinstance(v.type, QuantizedType)), None)
        alike = [row for row in rows if row.quantized == (codes is not None)]
        if not alike:
            return (
                None,
                f"{self.name} takes {'weights of codes alone' if codes is None else f'no {codes}'} in {op.name}",
            )
        dtype = next(v.tensor.dtype for v in (*op.inputs, *op.results) if not isinstance(v.type, QuantizedType))
        reason = f"{self.name} takes no {dtype} in {op.name}"
        for row in (row for row in alike if dtype in row.dtypes):
            problem = row.condition(op) if row.condition is not None else None
            if problem is None and row.since > self.release:
                first, own = (".".join(map(str, release)) for release in (row.since, self.release))
                problem = f"{op.name} in this form came with release {first}, and this is compiled for {own}"
            if problem is None:
                return row, ""
            reason = f"{self.name}: {problem}"
        return None, reason
