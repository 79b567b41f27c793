"""The table of emission functions: one for each op that can be written as ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable

from graphwright.backends.emission_table import EmissionTable
from graphwright.backends.onnx.emit.emitter import Emitter
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op

Emission = Callable[[Emitter, Op], None]
"""Writes the nodes of one op. The names of its results are given by `Emitter.name`."""

TABLE = EmissionTable[Emitter]()
EMISSIONS = TABLE.rows
emits = TABLE.emits


def emits_node(rows: dict[OpDef, str], domain: str = "") -> None:
    """Registers ops that are one node with the same operands and no attributes."""
    for definition, kind in rows.items():
        emits(definition)(_single(kind, domain))


def _single(kind: str, domain: str) -> Emission:
    def emit(e: Emitter, op: Op) -> None:
        e.results(op, kind, *e.operands(op), domain=domain)

    return emit
