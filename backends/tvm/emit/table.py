"""The table of emission functions: one for each op that the backend can run."""

from __future__ import annotations

from collections.abc import Callable

from graphwright.backends.emission_table import EmissionTable
from graphwright.backends.tvm.emit.emitter import Emitter
from graphwright.ir.graph import Op

Emission = Callable[[Emitter, Op], None]
"""Writes one op, and binds its results."""

TABLE = EmissionTable[Emitter]()
EMISSIONS = TABLE.rows
emits = TABLE.emits
