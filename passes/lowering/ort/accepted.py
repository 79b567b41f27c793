"""The end of lowering: nothing is left that the target does not take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphwright.ir.errors import UnsupportedError
from graphwright.passes.base import register
from graphwright.passes.lowering.ort.table_pass import Context, TablePass


@register
@dataclass(frozen=True)
class RequireAccepted(TablePass):
    """Changes nothing: raises `UnsupportedError`, naming op and module, for an op that the target does not take."""

    name: ClassVar[str] = "ort-accepted"

    def lower(self, context: Context) -> None:
        for op in context.graph:
            problem = context.target.refusal(op)
            if problem is not None:
                where = f" at {op.location}" if op.location else ""
                raise UnsupportedError(f"{op.name}{where}: {problem}, and there is no way to express it otherwise")
